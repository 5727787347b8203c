"""Messages that no client of ours can decode: each is dead-lettered alone, and its neighbors are handled once."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from tests.kit.events import paid
from tests.kit.raw_messages import RawProperties, nested, send, short, table
from tests.kit.subscriber_steps import done, note, subscriber_runner, to_queue
from tests.waiting import until

from kit.db.database import Database
from kit.messaging.broker import Publisher
from kit.messaging.dead_letters import dead_letters
from kit.messaging.outbox import EVENTS_EXCHANGE, to_message
from kit.messaging.publishers import login_of
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
