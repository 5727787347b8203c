"""Steps for tests of subscribers: one subscriber with a relay on a real broker, and what it has handled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from faststream.rabbit import RabbitRouter
from sqlalchemy import text
from tests.waiting import until

from contracts.envelope import Envelope
from contracts.payments import PaymentSucceeded
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.broker import Publisher
from kit.messaging.dead_letters import dead_letters
from kit.messaging.failed_messages import Schedules
from kit.messaging.outbox import OutgoingMessage
from kit.messaging.relay import Relay
from kit.messaging.runner import SubscriberRunner
from kit.messaging.subscriber import carries, subscriber
from kit.messaging.topology import Queue, declare_at
from kit.runtime.backoff import Backoff
from testkit.rabbit_server import RabbitServer

Handle = Callable[[Envelope[PaymentSucceeded], UnitOfWork], Awaitable[None]]
AT = datetime(2026, 11, 21, tzinfo=UTC)
ATTEMPTS = 4
QUICKLY = Backoff(first=timedelta(milliseconds=100), longest=timedelta(milliseconds=200), attempts=ATTEMPTS)
QUICK = Schedules(failure=QUICKLY, unrecognized=QUICKLY, outage=replace(QUICKLY, attempts=1_000_000))


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
    schedules: Schedules = QUICK,
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
        schedules=schedules,
    )
    await declare_at(rabbit.url, [queue])
    stop = asyncio.Event()
    tasks = [asyncio.create_task(running.run(stop)), asyncio.create_task(Relay(database, publisher).run(stop))]

    try:
        await until(running.attached, what="subscriber attached")
        yield running
    finally:
        stop.set()
        await asyncio.gather(*tasks)


def to_queue(message: OutgoingMessage, queue: str) -> OutgoingMessage:
    return OutgoingMessage(key=message.key, exchange="", routing_key=queue, body=message.body, headers=message.headers)
