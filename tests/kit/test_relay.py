"""The outbox and its relay: said with the commit, published at least once, marked only after the confirm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aio_pika
import pytest
from sqlalchemy import text
from tests.kit.events import paid
from tests.waiting import until

from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.broker import BrokerDown, Publisher
from kit.messaging.outbox import OutgoingMessage, put
from kit.messaging.relay import Relay
from kit.messaging.topology import Queue, declare_at
from testkit.rabbit_server import RabbitServer


def message(key: str, queue: str) -> OutgoingMessage:
    return OutgoingMessage(key=key, exchange="", routing_key=queue, body=key.encode(), mandatory=True)


async def bodies(rabbit: RabbitServer, queue: str) -> list[str]:
    connection = await aio_pika.connect(rabbit.url)
    async with connection:
        taken = await (await connection.channel()).get_queue(queue)
        found = []
        while (each := await taken.get(fail=False, no_ack=True)) is not None:
            found.append(each.body.decode())
        return sorted(found)


async def unpublished(database: Database) -> int:
    async with database.transaction() as db:
        count = await db.scalar(text("SELECT count(*) FROM outbox WHERE published_at IS NULL"))
    return int(count or 0)


@asynccontextmanager
async def relaying(database: Database, publisher: Publisher, *, replicas: int = 1) -> AsyncIterator[None]:
    stop = asyncio.Event()
    tasks = [asyncio.create_task(Relay(database, publisher).run(stop)) for _ in range(replicas)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def test_what_is_rolled_back_is_never_said(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    with pytest.raises(RuntimeError):
        async with database.transaction() as db:
            await put(db, message("never", queue_name))
            raise RuntimeError("the work failed")
    async with database.transaction() as db:
        await put(db, message("said", queue_name))
        await put(db, message("said", queue_name))
    async with relaying(database, publisher):

        async def published() -> bool:
            return await unpublished(database) == 0

        await until(published)
    assert await bodies(rabbit_server, queue_name) == ["said"]


async def test_several_relays_publish_each_row_once(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    keys = [f"m{n:04}" for n in range(1_000)]
    async with database.transaction() as db:
        for key in keys:
            await put(db, message(key, queue_name))
    async with relaying(database, publisher, replicas=3):

        async def published() -> bool:
            return await unpublished(database) == 0

        await until(published)
    assert await bodies(rabbit_server, queue_name) == keys


async def test_a_row_that_is_not_due_waits(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    async with database.transaction() as db:
        await put(db, message("later", queue_name), available_at=datetime.now(UTC) + timedelta(hours=1))
    assert not await Relay(database, publisher).publish_due()
    assert await unpublished(database) == 1


async def test_what_no_queue_takes_waits_until_one_does(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    async with database.transaction() as db:
        await put(db, message("early", queue_name))
    async with relaying(database, publisher):
        await asyncio.sleep(0.5)
        assert await unpublished(database) == 1
        await declare_at(rabbit_server.url, [Queue(queue_name)])

        async def published() -> bool:
            return await unpublished(database) == 0

        await until(published)
    assert await bodies(rabbit_server, queue_name) == ["early"]


async def test_a_row_that_cannot_be_put_on_the_wire_stops_nobody_else(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    async with database.transaction() as db:
        await put(db, OutgoingMessage(key="broken", exchange="", routing_key="ä" * 200, body=b"", mandatory=True))
        await put(db, message("fine", queue_name))
    async with relaying(database, publisher):

        async def fine() -> bool:
            return await unpublished(database) == 1

        await until(fine)
    assert await bodies(rabbit_server, queue_name) == ["fine"]
    async with database.transaction() as db:
        told = await db.scalar(text("SELECT last_error FROM outbox WHERE message_key = 'broken'"))
    assert "Unpublishable" in told


async def test_nothing_is_marked_while_the_broker_is_away(database: Database, queue_name: str) -> None:
    nobody = Publisher("amqp://guest:guest@127.0.0.1:9/", name="tests", timeout=0.5)
    async with database.transaction() as db:
        await put(db, message("kept", queue_name))
    with pytest.raises(BrokerDown):
        await Relay(database, nobody).publish_due()
    assert await unpublished(database) == 1


async def test_a_broker_with_an_alarm_is_waited_for_and_not_flooded(
    rabbit_server: RabbitServer, database: Database, queue_name: str
) -> None:
    """It reads nothing while it is short of memory: what is written meanwhile arrives later, once for every try."""
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    publisher = Publisher(rabbit_server.url, name="tests", timeout=1)
    await publisher.ping()
    await asyncio.to_thread(rabbit_server.control, "set_vm_memory_high_watermark", "0.000001")
    try:
        async with database.transaction() as db:
            for n in range(20):
                await put(db, message(f"m{n:02}", queue_name))
        for _ in range(4):
            with pytest.raises(BrokerDown):
                await Relay(database, publisher).publish_due()
        with pytest.raises(BrokerDown):
            await publisher.ping()
        assert await unpublished(database) == 20
    finally:
        await asyncio.to_thread(rabbit_server.control, "set_vm_memory_high_watermark", "0.4")

    async def published() -> bool:
        return await unpublished(database) == 0

    async with relaying(database, publisher):
        await until(published)
    arrived = await bodies(rabbit_server, queue_name)
    assert set(arrived) == {f"m{n:02}" for n in range(20)}
    assert len(arrived) <= 40, "more than the one try before the broker's word had come"
    await publisher.close()


async def test_an_event_without_a_cause_needs_a_subject(database: Database) -> None:
    async with database.transaction() as db:
        uow = UnitOfWork(db=db, source="tests", now=datetime.now(UTC))
        with pytest.raises(ValueError, match="subject"):
            await uow.publish(paid("evt").data, id="evt")
