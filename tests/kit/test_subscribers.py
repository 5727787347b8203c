"""Subscribers on a real broker: each event once, failures rescheduled or dead-lettered, nothing lost in a crash."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import aio_pika
from faststream.rabbit import RabbitRouter
from sqlalchemy import text
from tests.kit.events import paid
from tests.kit.subscriber_steps import AT, ATTEMPTS, QUICK, dead, done, note, subscriber_runner, to_queue
from tests.metrics import total
from tests.waiting import until

from contracts.envelope import Envelope
from contracts.payments import PaymentFailed, PaymentSucceeded
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.broker import Publisher
from kit.messaging.dead_letters import dead_letters
from kit.messaging.outbox import to_message
from kit.messaging.runner import SubscriberRunner
from kit.messaging.subscriber import carries, subscriber
from kit.messaging.topology import Queue, declare_at
from kit.runtime.backoff import Backoff
from testkit.rabbit_server import RabbitServer


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


async def test_a_subscriber_that_the_broker_has_canceled_is_attached_again(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    """The queue is deleted under it: the connection stays up, and the broker cancels its consumer. It comes back once
    `migrate` has declared the queue again."""
    async with subscriber_runner(rabbit_server, database, publisher, queue_name, note) as running:
        connection = await aio_pika.connect(rabbit_server.url)
        async with connection:
            channel = await connection.channel()
            await channel.queue_delete(queue_name)

        async def detached() -> bool:
            return not await running.attached()

        await until(detached)
        await declare_at(rabbit_server.url, [Queue(queue_name, events=(PaymentSucceeded,))])
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


async def test_an_event_that_has_no_handler_here_is_retried_and_then_dead_lettered_with_the_reason(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    """A later version of ours has bound it, and this process is not upgraded yet; or somebody has by hand."""
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
    assert letter.reason == f"UnrecognizedType: {queue_name} has no handler for payment.failed.v1"
    assert total("bursar_unrecognized_events_total", queue=queue_name) == ATTEMPTS
    assert letter.attempts == ATTEMPTS


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

    once = replace(QUICK, failure=Backoff(first=timedelta(hours=1), attempts=1))
    async with subscriber_runner(rabbit_server, database, publisher, queue_name, deadlocked_twice, schedules=once):
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
        if attempts <= ATTEMPTS + 2:
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
    await declare_at(rabbit_server.url, [queue])
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
