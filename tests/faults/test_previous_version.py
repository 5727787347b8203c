"""An upgrade, one process after the other: consumers of two versions on one queue lose and dead-letter nothing.

The older version is this code without one event type and one optional field (see `older`): a checkout of a release has
neither its history nor its dependencies. Its SQL is tested with the migrations (tests/kit/test_retention.py).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from uuid import UUID, uuid4

import aio_pika
import asyncpg
from tests.databases import logins, opened
from tests.deliveries import envelope
from tests.faults.older import NEW_FIELD, NEW_TYPE
from tests.processes import JWT, RunningRole, declare_consumer_of, migrate
from tests.waiting import until

from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentRefunded, PaymentSucceeded
from contracts.people import Program
from enrollment.projection import enrollments_of
from enrollment.topology import PAYMENTS
from kit.messaging.broker import Publisher
from kit.messaging.outbox import to_message
from kit.messaging.refold import refold
from ledger.policy import DEFAULT_POLICY
from testkit.postgres_server import PostgresServer
from testkit.processes import Command, Process, free_ports, stop_all, wait_all_ready
from testkit.rabbit_server import RabbitServer

ROOT = Path(__file__).resolve().parents[2]
PRICE = usd(57_500)


def paid(student: UUID) -> PaymentSucceeded:
    return PaymentSucceeded(
        refs=PaymentRefs(payment_intent=f"pi_{student}"),
        purchase_id=uuid4(),
        student_id=student,
        program=Program(slug="cpr", id="cpr"),
        amount=PRICE,
        price=PRICE,
    )


def refunded(student: UUID) -> PaymentRefunded:
    return PaymentRefunded(refs=PaymentRefs(payment_intent=f"pi_{student}"), total=PRICE, before=usd(0), of=PRICE)


def older(env: dict[str, str]) -> Process:
    port, internal_port = free_ports(2)
    return Process(
        Command(
            name="enrollment.consumers of the previous version",
            argv=[sys.executable, "-m", "tests.faults.older", "enrollment", "consumers"],
            env={**os.environ, **JWT, **env, "HTTP_PORT": str(port), "INTERNAL_PORT": str(internal_port)},
            cwd=ROOT,
            ready_url=f"http://127.0.0.1:{internal_port}/readyz",
        )
    )


async def dead_letters(amqp_url: str) -> int | None:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(PAYMENTS.dead, passive=True)
        return queue.declaration_result.message_count


async def test_consumers_of_two_versions_lose_and_dead_letter_nothing(
    postgres_server: PostgresServer, rabbit_server: RabbitServer
) -> None:
    database = postgres_server.create_database("enrollment_two_versions")
    env = {**logins(database), "AMQP_URL": rabbit_server.url}
    migrate("enrollment", env)
    await declare_consumer_of("enrollment", rabbit_server.url)
    publisher = Publisher(rabbit_server.url, name="tests")
    connection = await asyncpg.connect(database.url)
    previous, current = older(env), RunningRole("enrollment", "consumers", env)
    relay = RunningRole("enrollment", "relay", env)
    before, beside = ([uuid4() for _ in range(10)] for _ in range(2))

    async def publish(students: list[UUID]) -> None:
        for student in students:
            for event in (paid(student), refunded(student)):
                await publisher.publish(to_message(envelope(f"evt_{student}/{event.type}", event)))

    async def handled() -> int:
        found = await connection.fetchval("SELECT count(*) FROM inbox WHERE queue = $1", PAYMENTS.name)
        return int(found)

    async def rescheduled() -> bool:
        waiting = await connection.fetchval(
            "SELECT count(*) FROM outbox_messages WHERE routing_key = $1 AND headers ->> 'cloudEvents:type' = $2",
            PAYMENTS.name,
            NEW_TYPE.type,
        )
        return bool(waiting == len(before) and await handled() == len(before))

    async def all_handled() -> bool:
        # a minute or more later
        await connection.execute("UPDATE outbox_due SET available_at = now() WHERE available_at > now()")
        return await handled() == 2 * len(before + beside)

    try:
        wait_all_ready([previous.start()])
        await publish(before)
        await until(rescheduled, seconds=30, what="the previous version reschedules what it does not recognize")
        wait_all_ready([current.start(), relay.start()])
        await publish(beside)
        await until(all_handled, seconds=60, what="the current version takes what the previous one does not recognize")
        previous.stop()
        assert await dead_letters(rabbit_server.url) == 0
        facts = await connection.fetch("SELECT type, body ? $1 AS whole FROM facts", NEW_FIELD)
        assert sorted(fact["type"] for fact in facts) == sorted(
            event.type for event in (PaymentSucceeded, PaymentRefunded) for _ in before + beside
        )
        assert all(fact["whole"] for fact in facts if fact["type"] == PaymentSucceeded.type)
        # the previous version projects a group without the facts that it does not recognize, until the upgrade is over
        async with opened(database.url) as all_current:
            await refold(all_current, enrollments_of(DEFAULT_POLICY).apply_all, service="enrollment")
        statuses = await connection.fetch("SELECT status, count(*) FROM enrollments GROUP BY 1")
        assert [tuple(row) for row in statuses] == [("withdrawn", len(before + beside))]
    finally:
        stop_all([previous, current, relay])
        await publisher.close()
        await connection.close()
