"""A broker that is restarted: subscribers attach again, and take in as many messages as before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest
from structlog.testing import capture_logs
from tests.kit.events import paid
from tests.kit.subscriber_steps import done, note, subscriber_runner, to_queue
from tests.waiting import until

from kit.db.database import Database
from kit.messaging.broker import BrokerDown, Publisher
from kit.messaging.outbox import to_message
from testkit.rabbit_server import RabbitServer
from testkit.servers import rabbitmq


@pytest.fixture
def own_rabbit() -> Iterator[RabbitServer]:
    with rabbitmq(durable=True) as server:
        yield server


async def test_attempts_to_connect_while_the_broker_is_down_are_no_lost_connections(
    own_rabbit: RabbitServer, database: Database, queue_name: str
) -> None:
    """A connection that is lost again and again makes the subscribers take one message at a time. Here it is lost
    twice, and many attempts fail."""
    publisher = Publisher(own_rabbit.url, name="tests")

    async def confirmed(id: str) -> bool:
        try:
            await publisher.publish(to_queue(to_message(paid(id)), queue_name))
        except BrokerDown:
            return False
        return True

    with capture_logs() as logs:
        async with subscriber_runner(own_rabbit, database, publisher, queue_name, note) as running:
            for id in ("evt_1", "evt_2"):
                await asyncio.to_thread(own_rabbit.stop)
                await asyncio.sleep(3)
                await asyncio.to_thread(own_rabbit.start)
                await until(partial(confirmed, id), seconds=60, what=f"{id} confirmed")
                await until(running.attached, seconds=30)

            async def both() -> bool:
                return await done(database) == ["evt_1", "evt_2"]

            await until(both, seconds=30)
    await publisher.close()
    assert "connection lost repeatedly" not in [entry["event"] for entry in logs]
