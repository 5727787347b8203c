"""The spill queue keeps its events through any number of redeliveries, on every version of RabbitMQ."""

from __future__ import annotations

import aio_pika

from kit.messaging.topology import REDELIVERY_LIMIT, declare_at
from testkit.rabbit_server import RabbitServer
from webhook_gateway.topology import SPILL


async def test_a_long_database_outage_dead_letters_nothing(rabbit_server: RabbitServer) -> None:
    """More redeliveries than any other queue allows: each time the drain loses the journal is one."""
    await declare_at(rabbit_server.url, [SPILL])
    connection = await aio_pika.connect(rabbit_server.url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.get_queue(SPILL.name)
        await queue.purge()
        await channel.default_exchange.publish(aio_pika.Message(b"an event"), SPILL.name)
        for _ in range(REDELIVERY_LIMIT + 10):
            message = await queue.get(timeout=5)
            await message.nack(requeue=True)
        message = await queue.get(timeout=5)
        assert message.body == b"an event"
        await message.ack()
