"""The journal, the relay and a queue that receives what it publishes, without their processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aio_pika
from sqlalchemy import func, select, update
from tests.databases import opened
from tests.webhook_gateway import stripe_events as stripe
from tests.webhook_gateway.stripe_events import SECRET, body_of, sign

from kit.db.database import Database
from kit.messaging.broker import Publisher
from kit.messaging.outbox import EVENTS_EXCHANGE
from webhook_gateway.event import parse_event
from webhook_gateway.journal import Journal
from webhook_gateway.relay import JournalRelay
from webhook_gateway.tables import Source, journal_due, journal_entries, journal_events

RECEIVED = "test.relay"


def paid(**fields: Any) -> dict[str, Any]:
    return stripe.event("payment_intent.succeeded", stripe.intent(**fields))


@dataclass(frozen=True)
class RelaySteps:
    database: Database
    amqp_url: str
    publisher: Publisher

    def relay(self, **settings: Any) -> JournalRelay:
        return JournalRelay(self.database, self.publisher, **{"secrets": [SECRET.encode()], **settings})

    async def bind(self, *event_types: str) -> None:
        """Only these events have a queue. Removes what it has received."""
        connection = await aio_pika.connect(self.amqp_url)
        async with connection:
            channel = await connection.channel()
            await channel.queue_delete(RECEIVED)
            exchange = await channel.declare_exchange(EVENTS_EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
            queue = await channel.declare_queue(RECEIVED, durable=True)
            for event_type in event_types:
                await queue.bind(exchange, event_type)

    async def received(self) -> list[str]:
        """The ids of the Stripe events whose translations were published, in that order. Removes them."""
        connection = await aio_pika.connect(self.amqp_url)
        async with connection:
            channel = await connection.channel()
            queue = await channel.get_queue(RECEIVED)
            found = []
            while (message := await queue.get(fail=False, no_ack=True)) is not None:
                found.append(str(message.headers["cloudEvents:causationid"]))
            return found

    async def clear(self) -> None:
        async with self.database.transaction() as db:
            for table in (journal_due, journal_events, journal_entries):
                await db.execute(table.delete())

    async def deliver(self, *events: Mapping[str, Any], secret: str = SECRET) -> None:
        """Journals signed deliveries, in this order."""
        journal = Journal(self.database.url)
        for event in events:
            body = body_of(event)
            assert await journal.write(parse_event(body, signature=sign(body, secret=secret)))
        await journal.close()

    async def write(self, event_id: str, body: bytes, *, source: Source = Source.FETCHED) -> None:
        """Writes a journal row with any body."""
        async with self.database.transaction() as db:
            write = func.journal_write([event_id], ["payment_intent.succeeded"], [body], [None], [str(source)])
            await db.execute(select(write))

    async def due(self) -> dict[str, Any]:
        """The rows that are due, by event id."""
        async with self.database.transaction() as db:
            return {row.event_id: row for row in await db.execute(select(journal_due))}

    async def retry(self, event_ids: Iterable[str]) -> None:
        """The next attempts of these are due now."""
        async with self.database.transaction() as db:
            rows = update(journal_due).where(journal_due.c.event_id.in_(list(event_ids)))
            await db.execute(rows.values(available_at=func.now()))


@asynccontextmanager
async def relay_steps(database_url: str, amqp_url: str, *event_types: str) -> AsyncIterator[RelaySteps]:
    """An empty journal, and an empty queue that receives these types."""
    publisher = Publisher(amqp_url, name="tests")
    async with opened(database_url) as database:
        steps = RelaySteps(database, amqp_url, publisher)
        await steps.clear()
        await steps.bind(*event_types)
        yield steps
    await publisher.close()
