"""What becomes of a message that failed: when it is tried again, when that ends, and that it is safe meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from sqlalchemy import text
from tests.kit.events import paid
from tests.kit.subscriber_steps import QUICK, dead, done, note, subscriber_runner
from tests.waiting import until

from contracts.envelope import BadEnvelope, UnrecognizedType
from kit.db.database import Database
from kit.messaging.broker import Publisher
from kit.messaging.failed_messages import DAYS, HOURS, FailedMessages
from kit.messaging.outbox import to_message
from kit.messaging.publishers import Publishers, login_of
from kit.messaging.relay import Relay
from kit.messaging.topology import Queue, declare_at
from kit.runtime.failures import Permanent
from testkit.rabbit_server import RabbitServer


@asynccontextmanager
async def delivered(rabbit: RabbitServer, queue: str, **headers: Any) -> AsyncIterator[AbstractIncomingMessage]:
    await declare_at(rabbit.url, [Queue(queue)])
    connection = await aio_pika.connect(rabbit.url)
    async with connection:
        channel = await connection.channel()
        event = to_message(paid("evt_failed"))
        message = aio_pika.Message(event.body, headers={**event.headers, **headers}, user_id=login_of(rabbit.url))
        await channel.default_exchange.publish(message, queue)
        yield await (await channel.get_queue(queue)).get(timeout=5)


async def fail(
    failed: FailedMessages,
    database: Database,
    queue: str,
    message: AbstractIncomingMessage,
    errors: Sequence[Exception],
) -> list[bool]:
    """Whether each failure dead-letters the message, which comes back with the headers that it was rescheduled with."""
    outcomes = []
    for error in errors:
        outcomes.append(await failed.keep(Queue(queue), message, error))
        async with database.transaction() as db:
            stored = await db.scalar(text("SELECT headers FROM outbox_messages ORDER BY id DESC LIMIT 1"))
        message.headers.update(stored or {})
    return outcomes


async def test_each_cause_has_attempts_of_its_own_and_an_outage_uses_up_none(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    """With the schedules that services have."""
    failed = FailedMessages(Publishers(amqp_url=rabbit_server.url, database=database), database, publisher)
    errors = [TimeoutError(), RuntimeError(), KeyError("x"), UnrecognizedType("later")]
    rounds = HOURS.attempts - 1
    async with delivered(rabbit_server, queue_name) as message:
        assert not any(await fail(failed, database, queue_name, message, errors * rounds))
        assert not any(await fail(failed, database, queue_name, message, [ConnectionRefusedError()] * 20))
        assert await fail(failed, database, queue_name, message, [RuntimeError()]) == [True]
    assert await dead(rabbit_server, queue_name) == ["evt_failed"]


def test_the_schedules_outlast_a_bad_deploy_and_a_slow_upgrade() -> None:
    ten_minutes = sum(1 for n in range(1, HOURS.attempts) if sum_of(HOURS, n) < timedelta(minutes=10))
    assert ten_minutes < HOURS.attempts - 1
    assert timedelta(hours=2) < sum_of(HOURS, HOURS.attempts) < timedelta(hours=12)
    assert timedelta(days=1) < sum_of(DAYS, DAYS.attempts) < timedelta(days=10)


def sum_of(schedule: Any, failures: int) -> timedelta:
    """From the first failure to the given one."""
    return sum((schedule.delay(n) for n in range(1, failures)), timedelta())


async def test_headers_that_no_database_can_hold_do_not_keep_a_message_from_being_rescheduled(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    failed = FailedMessages(Publishers(amqp_url=rabbit_server.url, database=database), database, publisher)
    foreign = {
        "binary": bytearray(b"\xff\xfe"),
        "nul": "a\x00b",
        "nul\x00name": "a",
        "time": datetime(2026, 11, 21, tzinfo=UTC),
        "table": {"a": {"b": bytearray(b"\xff")}},
        "list": [bytearray(b"\xff")],
        "number": 7,
        "text": "kept",
    }
    async with delivered(rabbit_server, queue_name, **foreign) as message:
        assert await fail(failed, database, queue_name, message, [RuntimeError()]) == [False]
    async with database.transaction() as db:
        stored = await db.scalar(text("SELECT headers FROM outbox_messages"))
    assert foreign.keys() & stored.keys() == {"number", "text"}
    assert stored["cloudEvents:id"] == "evt_failed"


async def test_a_rescheduled_message_stays_in_the_outbox_while_its_queue_does_not_exist(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    soon = FailedMessages(Publishers(amqp_url=rabbit_server.url, database=database), database, publisher, QUICK)
    relay = Relay(database, publisher)
    async with delivered(rabbit_server, queue_name) as message:
        assert not await soon.keep(Queue(queue_name), message, RuntimeError())
        await message.ack()
        await message.channel.queue_delete(queue_name)
        await asyncio.sleep(0.3)  # until it is due
        await relay.publish_due()
    async with subscriber_runner(rabbit_server, database, publisher, queue_name, note):

        async def handled() -> bool:
            return await done(database) == ["evt_failed"]

        await until(handled)


@pytest.mark.parametrize("error", [Permanent("no"), BadEnvelope("no")])
async def test_a_message_is_not_acknowledged_before_its_dead_letter_is_confirmed(
    rabbit_server: RabbitServer, database: Database, queue_name: str, error: Exception
) -> None:
    """The broker does not read what publishers send while it is short of memory."""
    publisher = Publisher(rabbit_server.url, name="tests", timeout=30)
    failed = FailedMessages(Publishers(amqp_url=rabbit_server.url, database=database), database, publisher)
    async with delivered(rabbit_server, queue_name) as message:
        await publisher.ping()
        rabbit_server.control("set_vm_memory_high_watermark", "0")
        try:
            keeping = asyncio.create_task(failed.keep(Queue(queue_name), message, error))
            await asyncio.sleep(1)
            assert not keeping.done()
        finally:
            rabbit_server.control("set_vm_memory_high_watermark", "0.4")
        assert await keeping
    assert await dead(rabbit_server, queue_name) == ["evt_failed"]
    await publisher.close()
