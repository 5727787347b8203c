"""Dead letters on a real broker: what becomes one, and what an operator does with it."""

from __future__ import annotations

import asyncio
from typing import Any

import aio_pika
from tests.kit.events import paid
from tests.kit.subscriber_steps import ATTEMPTS, dead, done, note, subscriber_runner, to_queue
from tests.waiting import until

from contracts.envelope import Envelope
from contracts.payments import PaymentSucceeded
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.broker import Publisher
from kit.messaging.dead_letters import dead_letters
from kit.messaging.outbox import OutgoingMessage, to_message
from kit.messaging.topology import Queue, declare_at
from kit.runtime.failures import Permanent
from testkit.rabbit_server import RabbitServer


async def test_a_message_is_dead_lettered_after_the_last_attempt_and_can_be_replayed(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    fixed = False
    attempts = 0

    async def broken(event: Envelope[PaymentSucceeded], uow: UnitOfWork) -> None:
        nonlocal attempts
        attempts += 1
        if not fixed:
            raise RuntimeError("a bug")
        await note(event, uow)

    async with subscriber_runner(rabbit_server, database, publisher, queue_name, broken):
        await publisher.publish(to_queue(to_message(paid("evt_bug")), queue_name))

        async def dead_lettered() -> bool:
            return await dead(rabbit_server, queue_name) == ["evt_bug"]

        await until(dead_lettered)
        assert attempts == ATTEMPTS
        async with dead_letters(rabbit_server.url, queue_name) as letters:
            (letter,) = await letters.letters()
            assert (letter.reason, letter.attempts) == ("RuntimeError", ATTEMPTS)
            assert "broken" in letter.stack
            fixed = True
            assert await letters.replay(lambda each: each.event_id == "evt_bug") == 1

        async def replayed() -> bool:
            return await done(database) == ["evt_bug"]

        await until(replayed)
        # replayed again (an operator with two terminals): a duplicate
        await publisher.publish(to_queue(to_message(paid("evt_bug")), queue_name))
        await asyncio.sleep(0.3)
    assert await done(database) == ["evt_bug"]
    assert await dead(rabbit_server, queue_name) == []


async def test_permanent_failures_and_unreadable_messages_are_dead_lettered_at_once(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    seen: list[str] = []

    async def refuses(event: Envelope[PaymentSucceeded], uow: UnitOfWork) -> None:
        seen.append(event.id)
        raise Permanent("the rule is broken")

    async with subscriber_runner(rabbit_server, database, publisher, queue_name, refuses):
        good = to_message(paid("evt_rule"))
        await publisher.publish(to_queue(good, queue_name))
        for key, body, headers in (
            ("evt_json", b"{", good.headers),
            ("evt_shape", b'{"amount": 1}', good.headers),
            ("evt_headers", good.body, {}),
            ("evt_time", good.body, {**good.headers, "cloudEvents:time": "yesterday"}),
        ):
            named = {**headers, "cloudEvents:id": key} if headers else {}
            await publisher.publish(
                OutgoingMessage(key=key, exchange="", routing_key=queue_name, body=body, headers=named)
            )

        async def all_dead_lettered() -> bool:
            return len(await dead(rabbit_server, queue_name)) == 5

        await until(all_dead_lettered)
    assert seen == ["evt_rule"]
    async with dead_letters(rabbit_server.url, queue_name) as letters:
        reasons = {letter.event_id: letter.reason for letter in await letters.letters()}
        assert reasons["evt_rule"] == "Permanent: the rule is broken"
        assert reasons["evt_time"] == "BadEnvelope: time is not an RFC 3339 timestamp"
        assert await letters.discard(lambda _: True) == 5
    assert await dead(rabbit_server, queue_name) == []


async def test_an_operator_who_reads_twice_sees_the_same(
    rabbit_server: RabbitServer, publisher: Publisher, queue_name: str
) -> None:
    """What is read goes back before the reader is done: a quorum queue takes it back some time after its channel."""
    queue = Queue(queue_name)
    await declare_at(rabbit_server.url, [queue])
    for number in range(20):
        await publisher.publish(to_queue(to_message(paid(f"evt_{number}")), queue.dead))
    for _ in range(30):
        async with dead_letters(rabbit_server.url, queue_name) as letters:
            assert len(await letters.letters()) == 20
            assert await letters.discard(lambda _: False) == 0
    async with dead_letters(rabbit_server.url, queue_name) as letters:
        assert len(await letters.letters()) == 20
        assert await letters.discard(lambda _: True) == 20
        assert await letters.letters() == []


async def test_more_bad_messages_than_the_prefetch_do_not_block_the_queue(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    """Sixty messages that no publisher of ours sends: each is dead-lettered, and the valid one is handled."""
    good = to_message(paid("evt_good"))
    bad: list[dict[str, Any]] = [
        {**good.headers, "cloudEvents:id": bytearray(b"\xff\xfe")},
        {**good.headers, "cloudEvents:id": "evt_\x00"},
        {**good.headers, "cloudEvents:time": "now", "bursar-failures": 2**62},
        {**good.headers, "cloudEvents:time": "now", "other": "\x00"},
        {**good.headers, "cloudEvents:id": "evt_subject", "cloudEvents:subject": "a\x00"},
        {**good.headers, "cloudEvents:time": "now", "cloudEvents:subject": "a\x00"},
    ]
    async with subscriber_runner(rabbit_server, database, publisher, queue_name, note):
        connection = await aio_pika.connect(rabbit_server.url)
        async with connection:
            channel = await connection.channel()
            for headers in bad * 10:
                message = aio_pika.Message(good.body, headers=headers)
                await channel.default_exchange.publish(message, queue_name)
        await publisher.publish(to_queue(good, queue_name))

        async def handled() -> bool:
            return await done(database) == ["evt_good"]

        async def all_dead_lettered() -> bool:
            return len(await dead(rabbit_server, queue_name)) == 60

        await until(handled)
        await until(all_dead_lettered)


async def test_listing_dead_letters_often_loses_none(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    async def refuses(event: Envelope[PaymentSucceeded], uow: UnitOfWork) -> None:
        raise Permanent("no")

    async with subscriber_runner(rabbit_server, database, publisher, queue_name, refuses):
        await publisher.publish(to_queue(to_message(paid("evt_looked_at")), queue_name))

        async def dead_lettered() -> bool:
            return await dead(rabbit_server, queue_name) == ["evt_looked_at"]

        await until(dead_lettered)
        for _ in range(25):  # RabbitMQ 4 drops after 20 redeliveries where a queue says nothing else
            assert await dead(rabbit_server, queue_name) == ["evt_looked_at"]
