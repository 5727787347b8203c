"""Queues, exchanges and bindings. `migrate` declares them with the deployment's login, before any event is published;
services have no right to declare or bind anything.

    bursar.events       topic: an event reaches the queues that are bound to its type
    <service>.queues    direct: a message reaches the queue, or dead-letter queue, of this service that its key names.
                        For retries, dead letters and replays: no service may write to the default exchange, which
                        reaches every queue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from contracts.envelope import Event
from contracts.registry import EVENT_TYPES
from kit.messaging import shovel
from kit.messaging.outbox import EVENTS_EXCHANGE
from kit.messaging.publishers import login_of

log = structlog.get_logger(__name__)

IN_USE_SECONDS = 120.0
SETTLE_SECONDS = 1.0
PREFETCH = 100
"""Two batches: one is processed while the next one arrives (see `batches`)."""
REDELIVERY_LIMIT = 50
"""Deliveries of a message that crashes its consumer before the broker dead-letters it (quorum queues; RabbitMQ 3.10 has
no default limit, 4.0 has 20). Failures that the process survives are counted in a header, see `failed_messages`."""


NO_LIMIT = 1_000_000
"""RabbitMQ 4 drops a message after 20 redeliveries if no limit is set, and listing dead letters redelivers them.
(-1 means no limit in RabbitMQ 4, but 3.10 rejects it.)"""
DEAD_ARGUMENTS: Mapping[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": NO_LIMIT}


ALL = "#"
"""The binding to every type."""


def own_exchange(service: str) -> str:
    return f"{service}.queues"


@dataclass(frozen=True)
class Queue:
    """A durable quorum queue `<service>.<purpose>` and its dead-letter queue `<service>.<purpose>.dead`."""

    name: str
    events: tuple[type[Event], ...] = ()
    prefetch: int = PREFETCH
    redelivery_limit: int = REDELIVERY_LIMIT
    all_types: bool = False
    """Bound to every event, also to those that only a later version has."""

    @property
    def dead(self) -> str:
        return f"{self.name}.dead"

    @property
    def exchange(self) -> str:
        """The service's own exchange. With the queue's name as the routing key, a message reaches only this queue."""
        return own_exchange(self.name.partition(".")[0])

    @property
    def moving(self) -> str:
        """The queue that stands in for this one while it is replaced."""
        return f"{self.name}.moving"

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

    @property
    def legacy_arguments(self) -> list[dict[str, Any]]:
        """Of the versions whose publishers did not set `user_id`."""
        default_exchange = {**self.arguments, "x-dead-letter-exchange": ""}
        return [{**default_exchange, "x-delivery-limit": limit} for limit in (50, NO_LIMIT)]


class QueueInUse(RuntimeError):
    """A queue whose arguments have changed still has consumers. They have to be stopped before it can be replaced."""


class NotDeclared(RuntimeError):
    """A queue or exchange is missing: `migrate` has not run, or somebody has deleted it."""


async def declare_at(amqp_url: str, queues: Iterable[Queue], *, wait_seconds: float = IN_USE_SECONDS) -> None:
    """Declares the exchanges, the queues, their dead-letter queues and their bindings; removes bindings to events that
    a queue does not list. Needs the deployment's login. Idempotent; if interrupted, run it again.

    A queue whose arguments have changed is replaced (see `_replace`). Raises QueueInUse if it has consumers that do not
    end within `wait_seconds`.
    """
    queues, login = list(queues), login_of(amqp_url)
    async with AsyncExitStack() as exits:
        connection = await exits.enter_async_context(await aio_pika.connect(amqp_url, timeout=10))
        for exchange in sorted({queue.exchange for queue in queues}):
            await exits.enter_async_context(shovel.lock(connection, f"{exchange}.lock"))
        async with connection.channel() as channel:
            await channel.declare_exchange(EVENTS_EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
        for queue in queues:
            async with connection.channel() as channel:
                own = await channel.declare_exchange(queue.exchange, aio_pika.ExchangeType.DIRECT, durable=True)
                dead = await channel.declare_queue(queue.dead, durable=True, arguments=dict(DEAD_ARGUMENTS))
                await dead.bind(own, routing_key=queue.dead)
            if not await _declare(connection, queue, queue.arguments):
                await _replace(connection, queue, login=login, wait_seconds=wait_seconds)
            await _bind(connection, queue, queue.name)
            await _finish(connection, queue, login=login)


async def check_declared(amqp_url: str, queues: Iterable[Queue]) -> None:
    """Raises NotDeclared. For services, whose logins may not declare anything: a passive declaration needs no right
    (https://www.rabbitmq.com/docs/access-control)."""
    async with await aio_pika.connect(amqp_url, timeout=10) as connection, connection.channel() as channel:
        try:
            await channel.get_exchange(EVENTS_EXCHANGE)
            for queue in queues:
                await channel.get_exchange(queue.exchange)
                await channel.get_queue(queue.name)
                await channel.get_queue(queue.dead)
        except ChannelNotFoundEntity as error:
            raise NotDeclared(f"run migrate: {error}") from error


async def _declare(connection: AbstractConnection, queue: Queue, arguments: Mapping[str, Any]) -> bool:
    """Returns False if the queue exists with other arguments."""
    async with connection.channel() as channel:
        try:
            await channel.declare_queue(queue.name, durable=True, arguments=dict(arguments))
        except ChannelPreconditionFailed:
            return False
        return True


async def _bind(connection: AbstractConnection, queue: Queue, name: str) -> None:
    """Binds the queue of this name to what `queue` consumes, and to nothing else. AMQP cannot list bindings, but
    removing one that does not exist is no error."""
    wanted = {event.type for event in queue.events} | ({ALL} if queue.all_types else set())
    async with connection.channel() as channel:
        declared = await channel.get_queue(name, ensure=False)
        await declared.bind(queue.exchange, routing_key=queue.name)
        for type_ in sorted(wanted):
            await declared.bind(EVENTS_EXCHANGE, routing_key=type_)
        for type_ in sorted({ALL, *EVENT_TYPES} - wanted):
            await declared.unbind(EVENTS_EXCHANGE, routing_key=type_)


async def _unbind(connection: AbstractConnection, queue: Queue, name: str) -> None:
    async with connection.channel() as channel:
        declared = await channel.get_queue(name, ensure=False)
        await declared.unbind(queue.exchange, routing_key=queue.name)
        for type_ in (ALL, *EVENT_TYPES):
            await declared.unbind(EVENTS_EXCHANGE, routing_key=type_)


async def _replace(connection: AbstractConnection, queue: Queue, *, login: str, wait_seconds: float) -> None:
    """Deletes a queue and declares it with its new arguments. Meanwhile a second queue gets its messages.

    Everything is at least once: the second queue is bound before the first one is unbound, and what the first one holds
    is copied before it is deleted. A quorum queue cannot be deleted "if empty" (NOT_IMPLEMENTED), and what a consumer
    has not acknowledged is not counted: so it must have no consumers.
    """
    vouch = any([await _declare(connection, queue, legacy) for legacy in queue.legacy_arguments])
    async with connection.channel() as channel:
        await channel.declare_queue(queue.moving, durable=True, arguments=dict(DEAD_ARGUMENTS))
    deadline = time.monotonic() + wait_seconds
    while not await _declare(connection, queue, queue.arguments):
        async with connection.channel() as channel:
            found = (await channel.get_queue(queue.name)).declaration_result
        if found.consumer_count:
            if time.monotonic() > deadline:
                raise QueueInUse(f"{queue.name} has consumers: stop them, and run migrate again")
            log.info("waiting for consumers to stop", queue=queue.name, consumers=found.consumer_count)
            await asyncio.sleep(1)
            continue
        await _bind(connection, queue, queue.moving)
        await _unbind(connection, queue, queue.name)
        moved = await shovel.move(connection, queue.name, queue.moving, login=login, vouch=vouch)
        if moved:
            await asyncio.sleep(SETTLE_SECONDS)  # what a process took without consuming it may have come back
        if await shovel.is_idle(connection, queue.name):
            async with connection.channel() as channel:
                await channel.queue_delete(queue.name)
            log.info("queue replaced", queue=queue.name, moved=moved)


async def _finish(connection: AbstractConnection, queue: Queue, *, login: str) -> None:
    """Moves the messages back, if a second queue has any. The queue itself is bound by now."""
    if await shovel.exists(connection, queue.moving):
        await _unbind(connection, queue, queue.moving)
        await shovel.move(connection, queue.moving, queue.name, login=login)
        async with connection.channel() as channel:
            await channel.queue_delete(queue.moving)
