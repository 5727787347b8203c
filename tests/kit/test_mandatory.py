"""An event of ours is not lost: without a queue for it, it stays in the outbox."""

from __future__ import annotations

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from tests.kit.subscriber_steps import AT
from tests.waiting import until

from contracts.envelope import Event
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.broker import Publisher
from kit.messaging.relay import Relay
from kit.messaging.topology import Queue, declare_at
from testkit.rabbit_server import RabbitServer


class Unbound(Event):
    type = "tests.unbound.v1"


@pytest.mark.usefixtures("no_queue_of_all_types")
async def test_an_event_is_published_once_its_first_queue_is_bound(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    relay = Relay(database, publisher)
    await declare_at(rabbit_server.url, [Queue(f"{queue_name}-other")])  # the exchange
    async with database.transaction() as db:
        await UnitOfWork(db=db, source="kit-tests", now=AT).publish(Unbound(), id="evt_unbound", subject="s")
    await relay.publish_due()
    await declare_at(rabbit_server.url, [Queue(queue_name, events=(Unbound,))])
    connection = await aio_pika.connect(rabbit_server.url)
    async with connection:
        queue = await (await connection.channel()).get_queue(queue_name)

        async def arrived() -> AbstractIncomingMessage | None:
            await relay.publish_due()
            return await queue.get(timeout=5, fail=False)

        message = await until(arrived)
        assert message.headers["cloudEvents:id"] == "evt_unbound"
        await message.ack()
