"""Subscribers on a real broker: each event once, failures rescheduled or dead-lettered, nothing lost in a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aio_pika
from faststream.rabbit import RabbitRouter
from sqlalchemy import text
from tests.kit.events import paid
from tests.waiting import until

from contracts.envelope import Envelope
from contracts.payments import PaymentFailed, PaymentSucceeded
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.broker import Publisher
from kit.messaging.dead_letters import dead_letters
from kit.messaging.outbox import OutgoingMessage, to_message
from kit.messaging.relay import Relay
from kit.messaging.runner import SubscriberRunner
from kit.messaging.subscriber import carries, subscriber
from kit.messaging.topology import Queue, declare_at
from kit.runtime.backoff import Backoff
from kit.runtime.failures import Permanent
from testkit.rabbit_server import RabbitServer

Handle = Callable[[Envelope[PaymentSucceeded], UnitOfWork], Awaitable[None]]
AT = datetime(2026, 11, 21, tzinfo=UTC)
QUICK = Backoff(first=timedelta(milliseconds=100), longest=timedelta(milliseconds=200), attempts=4)


async def note(event: Envelope[PaymentSucceeded], uow: UnitOfWork) -> None:
    await uow.db.execute(text("INSERT INTO done (event_id) VALUES (:id)"), {"id": event.id})


async def done(database: Database) -> list[str]:
    async with database.transaction() as db:
        return list(await db.scalars(text("SELECT event_id FROM done ORDER BY event_id")))


async def dead(rabbit: RabbitServer, queue: str) -> list[str]:
    async with dead_letters(rabbit.url, queue) as letters:
        return sorted(letter.event_id for letter in await letters.letters())


@asynccontextmanager
async def subscriber_runner(
    rabbit: RabbitServer,
    database: Database,
    publisher: Publisher,
    name: str,
    handle: Handle,
    *,
    backoff: Backoff = QUICK,
) -> AsyncIterator[SubscriberRunner]:
    """One subscriber, and a relay."""
    queue = Queue(name, events=(PaymentSucceeded,))
    router = RabbitRouter()
    subscriber(router, queue)(handle, filter=carries(PaymentSucceeded))
    running = SubscriberRunner(
        service="kit-tests",
        amqp_url=rabbit.url,
        database=database,
        publisher=publisher,
        queues=[queue],
        routers=[router],
        backoff=backoff,
    )
    stop = asyncio.Event()
    tasks = [asyncio.create_task(running.run(stop)), asyncio.create_task(Relay(database, publisher).run(stop))]

    try:
        await until(running.attached, what="subscriber attached")
        yield running
    finally:
        stop.set()
        await asyncio.gather(*tasks)


def to_queue(message: OutgoingMessage, queue: str) -> OutgoingMessage:
    return OutgoingMessage(
        key=message.key, exchange="", routing_key=queue, body=message.body, headers=message.headers, mandatory=True
    )


async def test_an_event_is_handled_once_however_often_it_is_delivered(
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


async def test_a_failure_is_rescheduled_and_does_not_block_its_neighbors(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    attempts = 0

    async def fails_twice(event: Envelope[PaymentSucceeded], uow: UnitOfWork) -> None:
        nonlocal attempts
        await note(event, uow)
        if event.id == "evt_late":
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
    assert (await done(database)).count("evt_late") == 1  # failed attempts were rolled back


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
        assert attempts == QUICK.attempts
        async with dead_letters(rabbit_server.url, queue_name) as letters:
            (letter,) = await letters.letters()
            assert (letter.reason, letter.attempts) == ("RuntimeError", QUICK.attempts)
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
            ("evt_type", good.body, {**good.headers, "cloudEvents:type": "unknown.event.v9"}),
            ("evt_time", good.body, {**good.headers, "cloudEvents:time": "yesterday"}),
        ):
            named = {**headers, "cloudEvents:id": key} if headers else {}
            await publisher.publish(
                OutgoingMessage(key=key, exchange="", routing_key=queue_name, body=body, headers=named, mandatory=True)
            )

        async def all_dead_lettered() -> bool:
            return len(await dead(rabbit_server, queue_name)) == 6

        await until(all_dead_lettered)
    assert seen == ["evt_rule"]
    async with dead_letters(rabbit_server.url, queue_name) as letters:
        reasons = {letter.event_id: letter.reason for letter in await letters.letters()}
        assert reasons["evt_rule"] == "Permanent: the rule is broken"
        assert "unknown.event.v9" in reasons["evt_type"]
        assert await letters.discard(lambda _: True) == 6
    assert await dead(rabbit_server, queue_name) == []


async def test_more_bad_messages_than_the_prefetch_do_not_block_the_queue(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    """Forty messages that no publisher of ours sends: each is dead-lettered, and the valid one is handled."""
    good = to_message(paid("evt_good"))
    bad: list[dict[str, Any]] = [
        {**good.headers, "cloudEvents:id": bytearray(b"\xff\xfe")},
        {**good.headers, "cloudEvents:id": "evt_\x00"},
        {**good.headers, "cloudEvents:type": "unknown.event.v1", "bursar-attempt": 2**62},
        {**good.headers, "cloudEvents:type": "unknown.event.v1", "other": "\x00"},
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
            return len(await dead(rabbit_server, queue_name)) == 40

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


async def test_a_subscriber_that_the_broker_has_canceled_is_attached_again(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    """The queue is deleted under it: the connection stays up, and the broker cancels its consumer."""
    async with subscriber_runner(rabbit_server, database, publisher, queue_name, note) as running:
        connection = await aio_pika.connect(rabbit_server.url)
        async with connection:
            channel = await connection.channel()
            await channel.queue_delete(queue_name)

        async def detached() -> bool:
            return not await running.attached()

        await until(detached)
        await until(running.attached)
        await publisher.publish(to_queue(to_message(paid("evt_after")), queue_name))

        async def handled() -> bool:
            return await done(database) == ["evt_after"]

        await until(handled)


async def test_stopping_finishes_messages_in_progress_and_leaves_the_rest_queued(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    started = asyncio.Event()

    async def slow(event: Envelope[PaymentSucceeded], uow: UnitOfWork) -> None:
        started.set()
        await asyncio.sleep(1)
        await note(event, uow)

    await declare_at(rabbit_server.url, [Queue(queue_name, events=(PaymentSucceeded,))])
    for n in range(100):
        await publisher.publish(to_queue(to_message(paid(f"evt_{n:03}")), queue_name))
    async with subscriber_runner(rabbit_server, database, publisher, queue_name, slow):
        await started.wait()
    before = await done(database)
    async with subscriber_runner(rabbit_server, database, publisher, queue_name, note):

        async def everything() -> bool:
            return len(await done(database)) == 100

        await until(everything)
    assert len(set(await done(database))) == 100
    assert 0 < len(before) < 100
    assert await dead(rabbit_server, queue_name) == []


async def test_an_event_that_has_no_handler_here_is_dead_lettered_with_the_reason(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    """Somebody has bound it by hand, or a later version of ours did."""
    refs = paid("evt_other").data.refs
    other = Envelope(id="evt_other", source="tests", subject="s", time=AT, data=PaymentFailed(refs=refs))
    async with subscriber_runner(rabbit_server, database, publisher, queue_name, note):
        await publisher.publish(to_queue(to_message(other), queue_name))
        await publisher.publish(to_queue(to_message(paid("evt_fine")), queue_name))

        async def both() -> bool:
            return await dead(rabbit_server, queue_name) == ["evt_other"] and await done(database) == ["evt_fine"]

        await until(both)
    async with dead_letters(rabbit_server.url, queue_name) as letters:
        (letter,) = await letters.letters()
    assert letter.reason == f"Permanent: {queue_name} has no handler for payment.failed.v1"


async def test_a_deadlock_is_retried_at_once_and_is_not_a_failed_attempt(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    attempts = 0

    async def deadlocked_twice(event: Envelope[PaymentSucceeded], uow: UnitOfWork) -> None:
        nonlocal attempts
        attempts += 1
        await note(event, uow)
        if attempts < 3:
            await uow.db.execute(text("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'; END $$"))

    once = Backoff(first=timedelta(hours=1), attempts=1)
    async with subscriber_runner(rabbit_server, database, publisher, queue_name, deadlocked_twice, backoff=once):
        await publisher.publish(to_queue(to_message(paid("evt_deadlock")), queue_name))

        async def handled() -> bool:
            return await done(database) == ["evt_deadlock"]

        await until(handled)
    assert attempts == 3
    assert await dead(rabbit_server, queue_name) == []


async def test_an_outage_of_the_database_uses_up_no_attempts(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    attempts = 0

    async def unavailable(event: Envelope[PaymentSucceeded], uow: UnitOfWork) -> None:
        nonlocal attempts
        attempts += 1
        if attempts <= QUICK.attempts + 2:
            raise ConnectionRefusedError
        await note(event, uow)

    async with subscriber_runner(rabbit_server, database, publisher, queue_name, unavailable):
        await publisher.publish(to_queue(to_message(paid("evt_outage")), queue_name))

        async def handled() -> bool:
            return await done(database) == ["evt_outage"]

        await until(handled)
    assert await dead(rabbit_server, queue_name) == []


async def test_a_message_that_cannot_be_kept_anywhere_is_held_and_requeued_at_the_end(
    rabbit_server: RabbitServer, queue_name: str, publisher: Publisher
) -> None:
    """Neither the database nor the publisher can reach its server: it is not lost, and the next one stays queued."""
    queue = Queue(queue_name, events=(PaymentSucceeded,), prefetch=1)
    router = RabbitRouter()
    subscriber(router, queue)(note, filter=carries(PaymentSucceeded))
    nowhere = "127.0.0.1:9"
    database = Database(f"postgresql://nobody:none@{nowhere}/none")
    unreachable = Publisher(f"amqp://guest:guest@{nowhere}/", name="tests", timeout=0.5)
    running = SubscriberRunner(
        service="kit-tests",
        amqp_url=rabbit_server.url,
        database=database,
        publisher=unreachable,
        queues=[queue],
        routers=[router],
    )
    stop = asyncio.Event()
    task = asyncio.create_task(running.run(stop))
    await until(running.attached)
    bad = to_message(paid("evt_bad"))
    await publisher.publish(to_queue(replace(bad, body=b"{"), queue_name))
    await publisher.publish(to_queue(to_message(paid("evt_next")), queue_name))
    await asyncio.sleep(1.5)
    stop.set()
    await task
    await database.close()
    connection = await aio_pika.connect(rabbit_server.url)
    async with connection:
        source = await (await connection.channel()).get_queue(queue_name)
        first = await source.get(timeout=5)
        second = await source.get(timeout=5)
        assert [first.headers["cloudEvents:id"], second.headers["cloudEvents:id"]] == ["evt_bad", "evt_next"]
        assert first.redelivered
        assert not second.redelivered
        await first.ack()
        await second.ack()
