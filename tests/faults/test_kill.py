"""kill -9 of a consumer at the two most dangerous points: nothing is lost and nothing happens twice."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from tests.databases import logins
from tests.deliveries import envelope
from tests.processes import JWT, RunningRole, migrate
from tests.waiting import until

from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentSucceeded
from contracts.people import Program
from kit.messaging.broker import Publisher
from kit.messaging.outbox import to_message
from testkit.postgres_server import PostgresServer
from testkit.processes import Command, Process, free_ports
from testkit.rabbit_server import RabbitServer

ROOT = Path(__file__).resolve().parents[2]
STUDENTS = [uuid4() for _ in range(10)]


def paid(student: UUID) -> PaymentSucceeded:
    return PaymentSucceeded(
        refs=PaymentRefs(payment_intent=f"pi_{student}"),
        purchase_id=uuid4(),
        student_id=student,
        program=Program(slug="cpr", id="cpr"),
        amount=usd(57_500),
    )


def dying(point: str, env: dict[str, str]) -> Process:
    (port,) = free_ports(1)
    return Process(
        Command(
            name=f"enrollment.consumers dying {point}",
            argv=[sys.executable, "-m", "tests.faults.dying", point, "enrollment", "consumers"],
            env={**os.environ, **JWT, **env, "INTERNAL_PORT": str(port)},
            cwd=ROOT,
        )
    )


@pytest.mark.parametrize("point", ["before-commit", "between-commit-and-ack"])
async def test_a_killed_consumer_loses_and_repeats_nothing(
    postgres_server: PostgresServer, rabbit_server: RabbitServer, point: str
) -> None:
    name = f"enrollment_{point.replace('-', '_')}"
    database = postgres_server.create_database(name)
    env = {**logins(database), "AMQP_URL": rabbit_server.url}
    migrate("enrollment", env)
    publisher = Publisher(rabbit_server.url, name="tests")
    connection = await asyncpg.connect(database.url)
    victim, successor = dying(point, env), RunningRole("enrollment", "consumers", env)
    try:
        victim.start()
        for student in STUDENTS:
            for copy in range(2):
                event = envelope(f"evt_{student}/{copy}", paid(student))
                await publisher.publish(to_message(event))

        async def killed() -> bool:
            return victim.returncode == -9

        await until(killed, seconds=30, what="the victim's death")
        committed = await connection.fetchval("SELECT count(*) FROM inbox")
        assert (committed == 0) is (point == "before-commit")
        successor.start()

        async def all_claimed() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM inbox") == 20)

        await until(all_claimed, seconds=30, what="every delivery in the inbox")
        enrollments = await connection.fetch("SELECT student_id, status, revision FROM enrollments")
        published = await connection.fetch("SELECT routing_key FROM outbox_messages")
        assert {row["student_id"] for row in enrollments} == set(STUDENTS)
        assert {(row["status"], row["revision"]) for row in enrollments} == {("active", 1)}
        assert [row["routing_key"] for row in published] == ["enrollment.activated.v1"] * 10
    finally:
        successor.stop()
        victim.kill()
        await connection.close()
        await publisher.close()
