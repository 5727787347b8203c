"""Queues, exchanges and bindings. `migrate` declares them with the deployment's login, before any event is published;
services have no right to declare or bind anything.

    bursar.events       topic: an event reaches the queues that are bound to its type
    <service>.queues    direct: a message reaches the queue, or dead-letter queue, of this service that its key names.
                        For retries, dead letters and replays: no service may write to the default exchange, which
                        reaches every queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel

from contracts.envelope import Event
from kit.messaging.outbox import EVENTS_EXCHANGE

PREFETCH = 32
BATCHED_PREFETCH = 100
"""Of a queue whose messages are processed in batches: one is processed while the next one arrives."""
REDELIVERY_LIMIT = 50
"""Deliveries of a message that crashes its consumer before the broker dead-letters it (quorum queues; RabbitMQ 3.10 has
no default limit, 4.0 has 20). Failures that the process survives are counted in a header, see `failed_messages`."""


NO_LIMIT = 1_000_000
"""RabbitMQ 4 drops a message after 20 redeliveries if no limit is set, and listing dead letters redelivers them.
(-1 means no limit in RabbitMQ 4, but 3.10 rejects it.)"""
DEAD_ARGUMENTS: Mapping[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": NO_LIMIT}


def own_exchange(service: str) -> str:
    return f"{service}.queues"


@dataclass(frozen=True)
class Queue:
    """A durable quorum queue `<service>.<purpose>` and its dead-letter queue `<service>.<purpose>.dead`."""

    name: str
    events: tuple[type[Event], ...] = ()
    prefetch: int = PREFETCH
    redelivery_limit: int = REDELIVERY_LIMIT

    @property
    def dead(self) -> str:
        return f"{self.name}.dead"

    @property
    def exchange(self) -> str:
        """The service's own exchange. With the queue's name as the routing key, a message reaches only this queue."""
        return own_exchange(self.name.partition(".")[0])

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": self.exchange,
            "x-dead-letter-routing-key": self.dead,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-delivery-limit": self.redelivery_limit,
        }


async def declare(channel: AbstractChannel, queues: Iterable[Queue]) -> None:
    """Declares the exchanges, the queues, their dead-letter queues and their bindings. Idempotent."""
    events = await channel.declare_exchange(EVENTS_EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
    for queue in queues:
        own = await channel.declare_exchange(queue.exchange, aio_pika.ExchangeType.DIRECT, durable=True)
        dead = await channel.declare_queue(queue.dead, durable=True, arguments=dict(DEAD_ARGUMENTS))
        await dead.bind(own, routing_key=queue.dead)
        declared = await channel.declare_queue(queue.name, durable=True, arguments=queue.arguments)
        await declared.bind(own, routing_key=queue.name)
        for event in queue.events:
            await declared.bind(events, routing_key=event.type)


async def declare_at(amqp_url: str, queues: Iterable[Queue]) -> None:
    connection = await aio_pika.connect(amqp_url, timeout=10)
    async with connection:
        await declare(await connection.channel(), queues)
