"""The role `all`: migrations, API, consumers and relay of a service in one process."""

from __future__ import annotations

import subprocess
import sys
from uuid import uuid4

import asyncpg
import httpx
import pytest
from tests.databases import logins
from tests.deliveries import envelope
from tests.processes import JWT, RunningRole, declare_consumer_of
from tests.tokens import bearer
from tests.waiting import until

from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentSucceeded
from contracts.people import Program
from kit.messaging.broker import Publisher
from kit.messaging.outbox import to_message
from testkit.postgres_server import PostgresServer
from testkit.rabbit_server import RabbitServer


async def test_one_process_migrates_consumes_answers_and_drains(
    postgres_server: PostgresServer, rabbit_server: RabbitServer
) -> None:
    database = postgres_server.create_database("enrollment_all")
    env = {**logins(database), "AMQP_URL": rabbit_server.url}
    service = RunningRole("enrollment", "all", env)
    await declare_consumer_of("enrollment", rabbit_server.url)
    publisher = Publisher(rabbit_server.url, name="tests")
    student = uuid4()
    paid = PaymentSucceeded(
        refs=PaymentRefs(payment_intent=f"pi_{student}"),
        purchase_id=uuid4(),
        student_id=student,
        program=Program(slug="cpr", id="cpr"),
        amount=usd(57_500),
    )
    try:
        service.start().wait_ready()
        async with httpx.AsyncClient(base_url=service.url, verify=False) as http:
            ready = (await http.get(f"{service.internal_url}/readyz")).json()
            assert ready["policy"], "as the consumers report it"
            assert ready["checks"] == dict.fromkeys(
                (
                    "database",
                    "consumers.database",
                    "consumers.consumers",
                    "consumers.queues",
                    "relay.database",
                    "relay.broker",
                ),
                "ok",
            )
            await publisher.publish(to_message(envelope(f"evt_{student}", paid)))

            async def enrolled() -> bool:
                answer = await http.get("/api/enrollments", headers=bearer(student))
                return [item["status"] for item in answer.json()["items"]] == ["active"]

            await until(enrolled)
            assert (await http.get("/api/enrollments", headers=bearer(uuid4(), "admin"))).status_code == 200
        connection = await asyncpg.connect(database.url)
        try:

            async def published() -> bool:
                return bool(
                    await connection.fetchval(
                        "SELECT count(*) > 0 AND NOT EXISTS (SELECT FROM outbox_due) FROM outbox_messages"
                    )
                )

            await until(published)
            connected = await connection.fetch(
                "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = $1", database.name
            )
        finally:
            await connection.close()
        each_its_own = {database.name, database.api_login, database.staff_login}
        assert {row["usename"] for row in connected} == each_its_own, "and migrations have left"
        assert service.stop(30) == 0
    finally:
        service.kill()
        await publisher.close()


@pytest.mark.server
def test_the_other_logins_are_required() -> None:
    """With the login of consumers and relay, row-level security would not apply to the API."""
    env = {**JWT, "DATABASE_URL": "postgresql://nobody@127.0.0.1/none", "AMQP_URL": "amqp://127.0.0.1/"}
    run = subprocess.run(
        [sys.executable, "-m", "enrollment", "all"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stderr) == (
        2,
        "enrollment all: MIGRATE_DATABASE_URL: Field required; API_DATABASE_URL: Field required\n",
    )
