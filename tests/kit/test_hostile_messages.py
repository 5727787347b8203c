"""Messages that no client of ours can decode: each is dead-lettered alone, and its neighbors are handled once."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import aio_pika
import pytest
from faststream.rabbit import RabbitRouter
from pamqp import header
from tests.kit.events import paid
from tests.kit.raw_messages import RawProperties, nested, send, short, table
from tests.kit.subscriber_steps import dead, done, note, subscriber_runner, to_queue
from tests.metrics import total
from tests.waiting import until

from contracts.envelope import Envelope
from contracts.payments import PaymentSucceeded
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.broker import Publisher
from kit.messaging.dead_letters import dead_letters
from kit.messaging.delivered import decode_everything
from kit.messaging.outbox import EVENTS_EXCHANGE, to_message
from kit.messaging.publishers import login_of
from kit.messaging.runner import SubscriberRunner
from kit.messaging.subscriber import carries, subscriber
from kit.messaging.topology import Queue, declare_at
from testkit.rabbit_server import RabbitServer

GOOD = to_message(paid("evt_hostile"))
HEADERS = table(GOOD.headers)


def large(size: int) -> bytes:
    return table({**GOOD.headers, "cloudEvents:type": "unknown.event.v1", "note": "x" * size})


HOSTILE: dict[str, dict[str, bytes]] = {
    "correlation_id is not UTF-8": {"headers": HEADERS, "correlation_id": short(b"\xff\xfe")},
    "is out of range": {"headers": HEADERS, "timestamp": struct.pack(">Q", 1_900_000_000_000_000_000)},
    "UnicodeDecodeError": {"headers": struct.pack(">I", 5) + b"\x02\xff\xfet\x01"},
    "RecursionError": {"headers": nested(1500)},
    "properties of 130": {"headers": large(130_000)},
    "properties of 131": {"headers": large(130_700)},
    "unknown content encoding 'gzip'": {"headers": HEADERS, "content_encoding": short(b"gzip")},
}


@pytest.mark.parametrize("reason", HOSTILE)
async def test_a_message_that_cannot_be_decoded_is_dead_lettered_and_harms_no_other(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str, reason: str
) -> None:
    """Forty of them, more than the prefetch, with twenty good messages before and behind."""
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    good = [f"evt_{n:02}" for n in range(40)]

    async def publish(ids: list[str]) -> None:
        for id in ids:
            await publisher.publish(to_queue(to_message(paid(id)), queue_name))

    await publish(good[:20])
    properties = RawProperties(**HOSTILE[reason])
    await send(rabbit_server.url, GOOD.body, properties, routing_key=queue_name.encode(), copies=40)
    await publish(good[20:])
    async with subscriber_runner(rabbit_server, database, publisher, queue_name, note) as running:

        async def all_good() -> bool:
            assert await running.attached()
            return await done(database) == good

        await until(all_good)

        async def reasons() -> list[str]:
            async with dead_letters(rabbit_server.url, queue_name) as letters:
                return [letter.reason for letter in await letters.letters()]

        async def all_dead_lettered() -> bool:
            return len(await reasons()) == 40

        await until(all_dead_lettered)
        assert all(reason in each for each in await reasons()), await reasons()
        assert total("bursar_messages_total", queue=queue_name, outcome="rejected") >= 40
        await running.check()


async def test_a_routing_key_that_is_not_utf_8_does_not_matter(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    """It comes in the frame before the properties. The header CC delivers such a message to any queue."""
    async with subscriber_runner(rabbit_server, database, publisher, queue_name, note) as running:
        routed: dict[str, Any] = {**GOOD.headers, "CC": ["payment.succeeded.v1"]}
        user_id = short(login_of(rabbit_server.url).encode())
        raw = RawProperties(headers=table(routed), delivery_mode=b"\x02", user_id=user_id)
        await send(rabbit_server.url, GOOD.body, raw, exchange=EVENTS_EXCHANGE, routing_key=b"\xff\xfe")
        await publisher.publish(to_queue(to_message(paid("evt_other")), queue_name))

        async def both() -> bool:
            assert await running.attached()
            return await done(database) == ["evt_hostile", "evt_other"]

        await until(both)


async def test_all_else_that_ends_the_connection_is_isolated_before_its_neighbors_reach_their_limit(
    rabbit_server: RabbitServer,
    database: Database,
    publisher: Publisher,
    queue_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error in the client library that nobody knows of yet: its reader ends at this one message."""
    await declare_at(rabbit_server.url, [Queue(queue_name, redelivery_limit=15)])
    good = [f"evt_{n:02}" for n in range(60)]
    for id in [*good[:10], "evt_fatal", *good[10:]]:
        await publisher.publish(to_queue(to_message(paid(id)), queue_name))
    decode_everything()
    decode = header.ContentHeader.unmarshal

    def fails(self: header.ContentHeader, data: bytes) -> None:
        if b"evt_fatal" in data:
            raise RuntimeError("a bug")
        decode(self, data)

    async def slow(event: Envelope[PaymentSucceeded], uow: UnitOfWork) -> None:
        await asyncio.sleep(0.5)  # while the reader ends, its neighbors are not done
        await note(event, uow)

    router = RabbitRouter()
    queue = Queue(queue_name, events=(PaymentSucceeded,), redelivery_limit=15)
    subscriber(router, queue)(slow, filter=carries(PaymentSucceeded))
    running = SubscriberRunner(
        service="kit-tests",
        amqp_url=rabbit_server.url,
        database=database,
        publisher=publisher,
        queues=[queue],
        routers=[router],
    )
    monkeypatch.setattr(header.ContentHeader, "unmarshal", fails)
    stop = asyncio.Event()
    task = asyncio.create_task(running.run(stop))

    async def all_good_and_one_dead() -> bool:
        connection = await aio_pika.connect(rabbit_server.url)
        async with connection:
            declared = await (await connection.channel()).declare_queue(queue.dead, passive=True)
        return await done(database) == good and declared.declaration_result.message_count == 1

    try:
        await until(all_good_and_one_dead, seconds=90)
    finally:
        stop.set()
        await task
        monkeypatch.undo()
    assert await dead(rabbit_server, queue_name) == ["evt_fatal"]
