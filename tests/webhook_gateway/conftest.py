"""A broker for the tests of the journal's relay; a journal, and Stripe as the reconcilers call it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.webhook_gateway.stripe_transport import Stripe

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
