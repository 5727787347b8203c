"""A broker that is restarted: subscribers attach again, and take in as many messages as before; queues are measured."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import pytest
from aio_pika.exceptions import AMQPError
from structlog.testing import capture_logs
from tests.kit.events import paid
from tests.kit.subscriber_steps import done, note, subscriber_runner, to_queue
from tests.waiting import until

from kit.db.database import Database
from kit.messaging.broker import BrokerDown, Publisher
from kit.messaging.gauges import QueueDepths
from kit.messaging.outbox import to_message
from kit.messaging.topology import Queue, declare_at
from testkit.rabbit_server import RabbitServer
from testkit.servers import rabbitmq


@pytest.fixture(scope="module")
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


async def test_queues_are_measured_again_after_a_restart(own_rabbit: RabbitServer, queue_name: str) -> None:
    queue = Queue(queue_name)
    await declare_at(own_rabbit.url, [queue])
    depths = QueueDepths(own_rabbit.url, [queue])
    await depths.measure()
    await asyncio.to_thread(own_rabbit.stop)
    await asyncio.to_thread(own_rabbit.start)

    async def measured() -> bool:
        try:
            await depths.measure()
        except (AMQPError, OSError, RuntimeError):
            return False
        return True

    await until(measured)
    await depths.check()
    stop = asyncio.Event()
    stop.set()
    await depths.run(stop)
