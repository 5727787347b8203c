"""Broker, database and consumer stop under load and restart: each payment gives one enrollment, published once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg
import pytest
from tests.databases import logins
from tests.deliveries import envelope
from tests.processes import RunningRole, declare_consumer_of, migrate
from tests.waiting import until

from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentSucceeded
from contracts.people import Program
from kit.messaging.broker import BrokerDown, Publisher
from kit.messaging.outbox import to_message
from testkit.postgres_server import PostgresServer
from testkit.processes import stop_all, wait_all_ready
from testkit.rabbit_server import RabbitServer
from testkit.servers import postgres, rabbitmq

pytestmark = pytest.mark.server  # starts servers of its own

PAYMENTS = 150


@dataclass(frozen=True)
class Running:
    postgres: PostgresServer
    rabbit: RabbitServer
    database_url: str
    consumers: RunningRole
    relay: RunningRole


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """Its own servers: these tests stop them."""
    with postgres(durable=True) as database_server, rabbitmq(durable=True) as broker:
        database = database_server.create_database("enrollment")
        env = {**logins(database), "AMQP_URL": broker.url}
        migrate("enrollment", env)
        with ThreadPoolExecutor(1) as beside_the_event_loop:
            beside_the_event_loop.submit(asyncio.run, declare_consumer_of("enrollment", broker.url)).result(60)
        roles = RunningRole("enrollment", "consumers", env), RunningRole("enrollment", "relay", env)
        try:
            for role in roles:
                role.start()
            wait_all_ready(roles)
            yield Running(database_server, broker, database.url, *roles)
        finally:
            stop_all(roles)


async def pay(running: Running, students: list[UUID]) -> None:
    """Publishes one payment per student like a relay: again until the broker confirms it."""
    publisher = Publisher(running.rabbit.url, name="tests", timeout=2)
    try:
        for student in students:
            event = PaymentSucceeded(
                refs=PaymentRefs(payment_intent=f"pi_{student}"),
                purchase_id=uuid4(),
                student_id=student,
                program=Program(slug="cpr", id="cpr"),
                amount=usd(57_500),
            )
            while True:
                try:
                    await publisher.publish(to_message(envelope(f"evt_{student}", event)))
                    break
                except BrokerDown:
                    await asyncio.sleep(0.2)
            await asyncio.sleep(0.005)
    finally:
        await publisher.close()


async def every_payment_has_one_enrollment(running: Running, students: list[UUID]) -> None:
    connection: asyncpg.Connection = await asyncpg.connect(running.database_url)
    try:

        async def enrolled() -> bool:
            rows = await connection.fetch("SELECT student_id FROM enrollments WHERE student_id = ANY($1)", students)
            return len(rows) == len(students)

        async def published() -> bool:
            waiting = await connection.fetchval("SELECT count(*) FROM outbox_due")
            return bool(waiting == 0)

        await until(enrolled, seconds=60, what="an enrollment for each payment")
        await until(published, seconds=30, what="an empty outbox")
        revisions = await connection.fetch("SELECT revision FROM enrollments WHERE student_id = ANY($1)", students)
        assert {row["revision"] for row in revisions} == {1}
        keys = await connection.fetch(
            "SELECT message_key FROM outbox_messages WHERE routing_key = 'enrollment.activated.v1'"
        )
        assert len({row["message_key"] for row in keys}) == len(keys)
    finally:
        await connection.close()


async def test_the_broker_is_killed_under_load(running: Running) -> None:
    students = [uuid4() for _ in range(PAYMENTS)]
    paying = asyncio.create_task(pay(running, students))
    await asyncio.sleep(0.4)
    await asyncio.to_thread(running.rabbit.kill)
    await asyncio.sleep(1)
    await asyncio.to_thread(running.rabbit.start)
    await paying
    await every_payment_has_one_enrollment(running, students)

    async def ready() -> bool:
        return running.consumers.is_ready() and running.relay.is_ready()

    await until(ready, seconds=30, what="both roles ready again")


async def test_the_database_is_stopped_under_load(running: Running) -> None:
    students = [uuid4() for _ in range(PAYMENTS)]
    paying = asyncio.create_task(pay(running, students))
    await asyncio.sleep(0.4)
    await asyncio.to_thread(running.postgres.stop)
    await asyncio.sleep(1)
    assert not running.consumers.is_ready()
    await asyncio.to_thread(running.postgres.start)
    await paying
    await every_payment_has_one_enrollment(running, students)


async def test_a_stopped_consumer_drains_and_loses_nothing(running: Running) -> None:
    students = [uuid4() for _ in range(PAYMENTS)]
    paying = asyncio.create_task(pay(running, students))
    for _ in range(2):
        await asyncio.sleep(0.3)
        code = await asyncio.to_thread(running.consumers.stop, 30)
        assert code == 0, "SIGTERM drains"
        await asyncio.to_thread(running.consumers.start)
        await asyncio.to_thread(running.consumers.wait_ready)
    await paying
    await every_payment_has_one_enrollment(running, students)
