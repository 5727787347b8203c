"""Consumers on a real broker: each event once, failures parked or buried, nothing lost, whoever dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aio_pika
from sqlalchemy import text
from tests.kit.events import paid
from tests.waiting import until

from contracts.envelope import Envelope
from contracts.payments import PaymentSucceeded
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.broker import Publisher
from kit.messaging.consumer import Consumer
from kit.messaging.dead_letters import dead_letters
from kit.messaging.outbox import OutgoingMessage, to_message
from kit.messaging.relay import Relay
from kit.messaging.subscriber import SubscriberRunner
from kit.messaging.topology import Queue, declare_at
from kit.runtime.backoff import Backoff
from kit.runtime.failures import Permanent
from testkit.rabbit_server import RabbitServer

Handle = Callable[[Envelope[PaymentSucceeded], UnitOfWork], Awaitable[None]]
QUICK = Backoff(first=timedelta(milliseconds=100), longest=timedelta(milliseconds=200), attempts=4)


async def note(heard: Envelope[PaymentSucceeded], uow: UnitOfWork) -> None:
    await uow.db.execute(text("INSERT INTO done (event_id) VALUES (:id)"), {"id": heard.id})


async def done(database: Database) -> list[str]:
    async with database.transaction() as db:
        return list(await db.scalars(text("SELECT event_id FROM done ORDER BY event_id")))


async def dead(rabbit: RabbitServer, queue: str) -> list[str]:
    async with dead_letters(rabbit.url, queue) as letters:
        return sorted(letter.event_id for letter in await letters.letters())


@asynccontextmanager
async def subscriber_runner(
    rabbit: RabbitServer, database: Database, publisher: Publisher, name: str, handle: Handle
) -> AsyncIterator[SubscriberRunner]:
    """One consumer and a relay beside it."""
    consumer = Consumer(Queue(name, events=(PaymentSucceeded,)))
    consumer.on(PaymentSucceeded)(handle)
    running = SubscriberRunner(
        service="kit-tests",
        amqp_url=rabbit.url,
        database=database,
        publisher=publisher,
        consumers=[consumer],
        backoff=QUICK,
    )
    stop = asyncio.Event()
    tasks = [asyncio.create_task(running.run(stop)), asyncio.create_task(Relay(database, publisher).run(stop))]

    async def attached() -> bool:
        return running.attached()

    try:
        await until(attached, what="consumer attached")
        yield running
    finally:
        stop.set()
        await asyncio.gather(*tasks)


def to_queue(message: OutgoingMessage, queue: str) -> OutgoingMessage:
    return OutgoingMessage(
        key=message.key, exchange="", routing_key=queue, body=message.body, headers=message.headers, mandatory=True
    )


async def test_an_event_is_worked_on_once_however_often_it_comes(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    async with subscriber_runner(rabbit_server, database, publisher, queue_name, note):
        for _ in range(5):
            await publisher.publish(to_queue(to_message(paid("evt_once")), queue_name))
        await publisher.publish(to_queue(to_message(paid("evt_other")), queue_name))

        async def both() -> bool:
            return await done(database) == ["evt_once", "evt_other"]

        await until(both)
    assert await done(database) == ["evt_once", "evt_other"]


async def test_a_failure_is_parked_and_tried_again_while_its_neighbours_flow(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    attempts = 0

    async def fails_twice(heard: Envelope[PaymentSucceeded], uow: UnitOfWork) -> None:
        nonlocal attempts
        await note(heard, uow)
        if heard.id == "evt_late":
            attempts += 1
            if attempts < 3:
                raise RuntimeError("not yet")

    async with subscriber_runner(rabbit_server, database, publisher, queue_name, fails_twice):
        await publisher.publish(to_queue(to_message(paid("evt_late")), queue_name))
        for n in range(20):
            await publisher.publish(to_queue(to_message(paid(f"evt_{n:02}")), queue_name))

        async def all_done() -> bool:
            return len(await done(database)) == 21

        await until(all_done)
    assert attempts == 3
    assert (await done(database)).count("evt_late") == 1  # what failed was rolled back


async def test_what_never_works_is_buried_after_the_last_attempt_and_can_be_replayed(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    mended = False
    attempts = 0

    async def broken(heard: Envelope[PaymentSucceeded], uow: UnitOfWork) -> None:
        nonlocal attempts
        attempts += 1
        if not mended:
            raise RuntimeError("a bug of ours")
        await note(heard, uow)

    async with subscriber_runner(rabbit_server, database, publisher, queue_name, broken):
        await publisher.publish(to_queue(to_message(paid("evt_bug")), queue_name))

        async def buried() -> bool:
            return await dead(rabbit_server, queue_name) == ["evt_bug"]

        await until(buried)
        assert attempts == QUICK.attempts
        async with dead_letters(rabbit_server.url, queue_name) as letters:
            (letter,) = await letters.letters()
            assert (letter.reason, letter.attempts) == ("RuntimeError", QUICK.attempts)
            assert "broken" in letter.stack
            mended = True
            assert await letters.replay(lambda each: each.event_id == "evt_bug") == 1

        async def replayed() -> bool:
            return await done(database) == ["evt_bug"]

        await until(replayed)
        # replayed once more (an operator with two terminals): the inbox knows it
        await publisher.publish(to_queue(to_message(paid("evt_bug")), queue_name))
        await asyncio.sleep(0.3)
    assert await done(database) == ["evt_bug"]
    assert await dead(rabbit_server, queue_name) == []


async def test_what_breaks_a_rule_or_cannot_be_read_is_buried_at_once(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    seen: list[str] = []

    async def refuses(heard: Envelope[PaymentSucceeded], uow: UnitOfWork) -> None:
        seen.append(heard.id)
        raise Permanent("the rule is broken")

    async with subscriber_runner(rabbit_server, database, publisher, queue_name, refuses):
        good = to_message(paid("evt_rule"))
        await publisher.publish(to_queue(good, queue_name))
        for key, body, headers in (
            ("evt_json", b"{", good.headers),
            ("evt_shape", b'{"amount": 1}', good.headers),
            ("evt_headers", good.body, {}),
            ("evt_type", good.body, {**good.headers, "cloudEvents:type": "unheard.of.v9"}),
            ("evt_time", good.body, {**good.headers, "cloudEvents:time": "yesterday"}),
        ):
            named = {**headers, "cloudEvents:id": key} if headers else {}
            await publisher.publish(
                OutgoingMessage(key=key, exchange="", routing_key=queue_name, body=body, headers=named, mandatory=True)
            )

        async def all_buried() -> bool:
            return len(await dead(rabbit_server, queue_name)) == 6

        await until(all_buried)
    assert seen == ["evt_rule"]
    async with dead_letters(rabbit_server.url, queue_name) as letters:
        reasons = {letter.event_id: letter.reason for letter in await letters.letters()}
        assert reasons["evt_rule"] == "Permanent: the rule is broken"
        assert "unheard.of.v9" in reasons["evt_type"]
        assert await letters.discard(lambda _: True) == 6
    assert await dead(rabbit_server, queue_name) == []


async def test_more_poison_than_the_queue_hands_out_at_once_stalls_nobody(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    """Forty messages that no honest publisher writes: each is buried, and the good one is worked on."""
    good = to_message(paid("evt_good"))
    poison: list[dict[str, Any]] = [
        {**good.headers, "cloudEvents:id": bytearray(b"\xff\xfe")},
        {**good.headers, "cloudEvents:id": "evt_\x00"},
        {**good.headers, "cloudEvents:type": "unheard.of.v1", "bursar-attempt": 2**62},
        {**good.headers, "cloudEvents:type": "unheard.of.v1", "other": "\x00"},
    ]
    async with subscriber_runner(rabbit_server, database, publisher, queue_name, note):
        connection = await aio_pika.connect(rabbit_server.url)
        async with connection:
            channel = await connection.channel()
            for headers in poison * 10:
                message = aio_pika.Message(good.body, headers=headers)
                await channel.default_exchange.publish(message, queue_name)
        await publisher.publish(to_queue(good, queue_name))

        async def worked() -> bool:
            return await done(database) == ["evt_good"]

        async def all_buried() -> bool:
            return len(await dead(rabbit_server, queue_name)) == 40

        await until(worked)
        await until(all_buried)


async def test_looking_at_dead_letters_often_loses_none(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    async def refuses(heard: Envelope[PaymentSucceeded], uow: UnitOfWork) -> None:
        raise Permanent("no")

    async with subscriber_runner(rabbit_server, database, publisher, queue_name, refuses):
        await publisher.publish(to_queue(to_message(paid("evt_looked_at")), queue_name))

        async def buried() -> bool:
            return await dead(rabbit_server, queue_name) == ["evt_looked_at"]

        await until(buried)
        for _ in range(25):  # RabbitMQ 4 drops after 20 redeliveries where a queue says nothing else
            assert await dead(rabbit_server, queue_name) == ["evt_looked_at"]


async def test_a_consumer_that_the_broker_has_forgotten_comes_back(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    """The queue is deleted under it: the connection stays up, and the broker cancels the consumer."""
    async with subscriber_runner(rabbit_server, database, publisher, queue_name, note) as running:
        connection = await aio_pika.connect(rabbit_server.url)
        async with connection:
            channel = await connection.channel()
            await channel.queue_delete(queue_name)

        async def forgotten() -> bool:
            return not running.attached()

        async def back() -> bool:
            return running.attached()

        await until(forgotten)
        await until(back)
        await publisher.publish(to_queue(to_message(paid("evt_after")), queue_name))

        async def worked() -> bool:
            return await done(database) == ["evt_after"]

        await until(worked)


async def test_stopping_finishes_what_is_held_and_leaves_the_rest_to_the_broker(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    begun = asyncio.Event()

    async def slow(heard: Envelope[PaymentSucceeded], uow: UnitOfWork) -> None:
        begun.set()
        await asyncio.sleep(1)
        await note(heard, uow)

    await declare_at(rabbit_server.url, [Queue(queue_name, events=(PaymentSucceeded,))])
    for n in range(100):
        await publisher.publish(to_queue(to_message(paid(f"evt_{n:03}")), queue_name))
    async with subscriber_runner(rabbit_server, database, publisher, queue_name, slow):
        await begun.wait()
    before = await done(database)
    async with subscriber_runner(rabbit_server, database, publisher, queue_name, note):

        async def everything() -> bool:
            return len(await done(database)) == 100

        await until(everything)
    assert len(set(await done(database))) == 100
    assert 0 < len(before) < 100
    assert await dead(rabbit_server, queue_name) == []
