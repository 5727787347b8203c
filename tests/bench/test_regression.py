"""What a batch costs in statements, on a real database: the figure behind `make bench` that does not depend on the
machine. Each statement is a round trip, and its share of a message's cost is the largest.

A bound is what was counted when it was written. Raise it only with a reason: a statement for each message, where
there was one for all of them, is what this file is for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from faststream.rabbit import RabbitRouter
from sqlalchemy import event as hooks
from tests.bench import consumers as bench
from tests.bench import histories
from tests.databases import migrated, opened
from tests.notifications.harness import NO_DELAYS
from tests.webhook_gateway import stripe_events as stripe

import checkout
import checkout.consumers
import checkout.topology
import enrollment
import enrollment.consumers
import enrollment.topology
import instructor_assignment
import instructor_assignment.consumers
import instructor_assignment.topology
import milady_integration
import milady_integration.consumers
import milady_integration.topology
import notifications
import notifications.consumers
import notifications.topology
import webhook_gateway
from checkout.catalog import loader
from contracts.envelope import Envelope, Event
from contracts.payments import PaymentSucceeded
from kit.db.database import Database
from kit.messaging import batches
from kit.messaging.batches import MAX_BATCH, Batches
from kit.messaging.subscriber import filters, handlers, subscribers_of
from kit.messaging.topology import Queue
from testkit import postgres_server as pg
from webhook_gateway.event import parse_event
from webhook_gateway.journal import Journal


@dataclass(frozen=True)
class Consumer:
    """`batch`, `message`: the most statements for a batch of 50 payment events of mixed purchases, and for one event.

    BEGIN and COMMIT are not counted: each transaction has one of both.
    """

    package: Any
    payments: Queue
    router: Callable[[], RabbitRouter]
    batch: int
    message: int


CONSUMERS = (
    # each once: lock_timeout; inbox; erased identifiers; keys, groups, two joins, facts with their groups; rows read,
    # written; jobs or messages
    Consumer(enrollment, enrollment.topology.PAYMENTS, enrollment.consumers.payments, batch=12, message=12),
    # and locks, rows read under them; assignments, instructors and their write
    Consumer(
        instructor_assignment,
        instructor_assignment.topology.PAYMENTS,
        instructor_assignment.consumers.payments,
        batch=16,
        message=14,
    ),
    # and locks, rows read under them; programs, contacts, provider enrollments read and written. A new program: three
    Consumer(
        milady_integration,
        milady_integration.topology.PAYMENTS,
        milady_integration.consumers.payments,
        batch=17,
        message=18,
    ),
    # and the plan of the messages about all purchases: topics, notifications, jobs, what is scheduled already
    Consumer(
        notifications,
        notifications.topology.PAYMENTS,
        lambda: notifications.consumers.consumers(NO_DELAYS),
        batch=11,
        message=10,
    ),
    # and purchases, payments, installments, unmatched payments; documents with their numbers, payments, refunds and
    # buyers; jobs and messages. Each dispute, and three for each refund
    Consumer(checkout, checkout.topology.PAYMENTS, checkout.consumers.payment_events, batch=27, message=18),
)


PLAIN = 1004
"""A purchase that is paid at once, of the program that Milady provides."""


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that are sent meanwhile. An executemany is one, as it is one round trip."""
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    hooks.listen(database.engine.sync_engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        hooks.remove(database.engine.sync_engine, "before_cursor_execute", note)


async def process(database: Database, consumer: Consumer, events: Sequence[Envelope[Event]]) -> None:
    """All at once, as they are when they wait in the queue: one batch."""
    (subscriber,) = [s for s in subscribers_of([consumer.router()]) if s.queue.name == consumer.payments.name]
    by_type, filter_of = handlers(subscriber), filters(subscriber)
    queue = Batches(database, queue=consumer.payments.name, service=consumer.package.__name__.replace("_", "-"))
    new = await asyncio.gather(*(queue.process(e, by_type[e.type], filter_of[e.type]) for e in events))
    assert all(new)


@pytest.fixture(params=CONSUMERS, ids=lambda each: each.package.__name__)
def consumer(request: pytest.FixtureRequest) -> Consumer:
    found: Consumer = request.param
    return found


@pytest.fixture
def url(postgres_server: pg.PostgresServer, consumer: Consumer) -> str:
    """The consumers' login to a migrated database."""
    return migrated(postgres_server, f"regression_{consumer.package.__name__}", consumer.package.__file__).url


@pytest.fixture
def journal_url(postgres_server: pg.PostgresServer) -> str:
    return migrated(postgres_server, "regression_gateway", webhook_gateway.__file__).api_url


async def test_the_statements_of_a_batch_do_not_grow(
    consumer: Consumer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_SECONDS", 600.0)  # a slow machine would split the batch
    run = f"regression-{time.time()}"
    messages, purchases = histories.backlog([consumer.payments], MAX_BATCH, run=run)
    plain = histories.History(run, PLAIN)
    one = next(each for each in plain.envelopes() if isinstance(each.data, PaymentSucceeded))
    async with opened(url) as database:
        if consumer.package is checkout:
            await loader.load(database, loader.checked_in())
            await bench.start_purchases(url, [plain, *(histories.History(run, n) for n in range(purchases))])
        with counted(database) as of_one:
            await process(database, consumer, [one])
        with counted(database) as of_batch:
            await process(database, consumer, [each for _, each in messages])
    assert len(of_one) <= consumer.message, "\n".join(of_one)
    assert len(of_batch) <= consumer.batch, "\n".join(of_batch)


async def test_webhooks_that_wait_are_journaled_by_one_statement(
    journal_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(journal_url)
    bodies = [stripe.body_of(stripe.event("payment_intent.succeeded", stripe.intent())) for _ in range(MAX_BATCH)]
    events = [parse_event(body) for body in bodies]
    statements: list[str] = []
    for name in ("fetch", "fetchrow", "fetchval", "execute", "executemany"):
        original = getattr(asyncpg.Connection, name)

        def note(self: Any, query: str, *arguments: Any, _original: Any = original, **more: Any) -> Any:
            statements.append(query)
            return _original(self, query, *arguments, **more)

        monkeypatch.setattr(asyncpg.Connection, name, note)
    try:
        assert all(await asyncio.gather(*(journal.write(event) for event in events)))
    finally:
        await journal.close()
    assert len(statements) == 1, statements
