"""A broker for the tests of the journal's relay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testkit.rabbit_server import RabbitServer
from testkit.servers import rabbitmq


@pytest.fixture(scope="module")
def own_rabbit() -> Iterator[RabbitServer]:
    """A broker on which nothing else is bound."""
    with rabbitmq() as server:
        yield server
