"""A broker for the tests of the journal's relay; a journal, Stripe as the reconcilers call it, the admin API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from tests.databases import migrated
from tests.webhook_gateway.admin_steps import AUDIT, Steps
from tests.webhook_gateway.stripe_transport import Stripe

import webhook_gateway
from kit.db.database import Database
from kit.messaging.broker import Publisher
from kit.messaging.topology import Queue, declare_at
from testkit.postgres_server import PostgresServer
from testkit.rabbit_server import RabbitServer
from testkit.servers import rabbitmq
from webhook_gateway.journal import Journal
from webhook_gateway.tables import Source


@pytest.fixture(scope="module")
def own_rabbit() -> Iterator[RabbitServer]:
    """A broker on which nothing else is bound."""
    with rabbitmq() as server:
        yield server


@pytest.fixture
async def journal(url: str) -> AsyncIterator[Journal]:
    """For fetched events, at the `url` of the module."""
    journal = Journal(url, source=Source.FETCHED)
    yield journal
    await journal.close()


@pytest.fixture
async def stripe() -> AsyncIterator[Stripe]:
    stripe = Stripe()
    yield stripe
    await stripe.fetcher.close()


@pytest.fixture(scope="module")
def admin_database_url(postgres_server: PostgresServer) -> str:
    return migrated(postgres_server, "gateway_admin", webhook_gateway.__file__).url


@pytest.fixture
async def steps(rabbit_server: RabbitServer, admin_database_url: str) -> AsyncIterator[Steps]:
    queue = f"enrollment.test-{uuid4().hex[:8]}"
    await declare_at(rabbit_server.url, [Queue(queue), AUDIT])
    database, publisher = Database(admin_database_url), Publisher(rabbit_server.url, name="test")
    steps = Steps(database, rabbit_server, publisher, queue)
    await steps.recorded()
    yield steps
    await publisher.close()
    await database.close()
