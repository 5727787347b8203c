"""The reconciler of objects with a database, and the sandbox of Stripe in this process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from tests.databases import migrated, opened
from tests.webhook_gateway.objects.harness import MONTH_AGO, Deliver
from tests.webhook_gateway.objects.payments_at_stripe import Payments
from tests.webhook_gateway.stripe_transport import Stripe

import webhook_gateway
from kit.db.database import Database
from kit.messaging.outbox import outbox_messages
from testkit.postgres_server import PostgresServer
from webhook_gateway.event import Origin, parse_event
from webhook_gateway.journal import Journal
from webhook_gateway.object_reconciler import ObjectReconciler
from webhook_gateway.tables import (
    differences,
    journal_due,
    journal_entries,
    journal_events,
    journal_objects,
    object_comparison,
    object_cursors,
)


@pytest.fixture(scope="module")
def url(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"gateway_{request.module.__name__.rpartition('.')[2]}"
    yield migrated(postgres_server, name, webhook_gateway.__file__).url


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with opened(url) as database:
        async with database.transaction() as db:
            tables = journal_events, journal_entries, journal_due, journal_objects, object_cursors, differences
            for table in (*tables, outbox_messages):
                await db.execute(table.delete())
            now = datetime.now(UTC)
            row = {"begins_at": MONTH_AGO, "indexed_until": now - timedelta(minutes=1), "next_at": now}
            await db.execute(update(object_comparison).values(**row, since=None, through=None, completed_at=None))
        yield database


@pytest.fixture
def payments(stripe: Stripe) -> Payments:
    return Payments(stripe.sandbox)


async def _nothing() -> None:
    pass


@pytest.fixture
def build(database: Database, journal: Journal, stripe: Stripe) -> Callable[..., ObjectReconciler]:
    def build(**changed: Any) -> ObjectReconciler:
        settings: dict[str, Any] = {
            "journal": journal,
            "origin": Origin(livemode=False),
            "api_version": stripe.sandbox.settings.api_version,
            "restore_events": _nothing,
            "interval": timedelta(),
            "grace": timedelta(),
            # a second later, so that what is created now is in the period, which ends before its last second
            "clock": lambda: datetime.now(UTC) + timedelta(seconds=2),
        }
        return ObjectReconciler(database, stripe.fetcher, **{**settings, **changed})

    return build


@pytest.fixture
def deliver(stripe: Stripe, journal: Journal) -> Deliver:
    async def deliver(*, without: Callable[[Mapping[str, Any]], bool] = lambda _: False) -> int:
        """Journals what Stripe has sent since the last call, except for some events."""
        bodies = [webhook.body.encode() for webhook in stripe.sandbox.take()]
        delivered = [body for body in bodies if not without(json.loads(body))]
        for body in delivered:
            await journal.write(parse_event(body))
        return len(delivered)

    return deliver
