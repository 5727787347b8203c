"""Moves the messages of one queue to another, at least once. For `topology`, with the deployment's login."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import ChannelPreconditionFailed
from aiormq.exceptions import ChannelLockedResource

from kit.messaging.publishers import PUBLISHER_HEADER, UNSIGNED

BATCH = 30
"""Below RabbitMQ's `quorum_commands_soft_limit` (32): of more acknowledgments at once, those above it are lost when the
channel is closed right afterward, and their messages come twice."""
_NOT_COPIED = ("x-", "CC", "BCC")
"""The broker's own, and further routing keys (https://www.rabbitmq.com/docs/sender-selected)."""


async def move(connection: AbstractConnection, source: str, target: str, *, login: str, vouch: bool = False) -> int:
    """Returns how many messages were moved; each is acknowledged after the broker has confirmed its copy.

    A copy is published by `login` and names its first publisher in a header. `vouch`: those without a publisher count
    as published by `login` itself.
    """
    moved = 0
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    async with channel:
        queue = await channel.get_queue(source, ensure=False)
        while True:
            batch: list[AbstractIncomingMessage] = []
            while len(batch) < BATCH and (message := await queue.get(fail=False)) is not None:
                batch.append(message)
            copies = [_copy(message, login=login, vouch=vouch) for message in batch]
            await asyncio.gather(*(channel.default_exchange.publish(copy, target, mandatory=True) for copy in copies))
            if batch:
                await batch[-1].ack(multiple=True)
            moved += len(batch)
            if len(batch) < BATCH:
                return moved


def _copy(message: AbstractIncomingMessage, *, login: str, vouch: bool) -> aio_pika.Message:
    headers = {name: value for name, value in message.headers.items() if not name.startswith(_NOT_COPIED)}
    if message.user_id != login:  # else it was moved before
        publisher = message.user_id or UNSIGNED
        headers.pop(PUBLISHER_HEADER, None)
        if publisher != UNSIGNED or not vouch:
            headers[PUBLISHER_HEADER] = publisher
    return aio_pika.Message(
        message.body,
        headers=headers,
        message_id=message.message_id or uuid4().hex,
        type=message.type,
        correlation_id=message.correlation_id,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        timestamp=message.timestamp,
        app_id=message.app_id,
        user_id=login,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )


@asynccontextmanager
async def lock(connection: AbstractConnection, name: str) -> AsyncIterator[None]:
    """Waits until no other connection holds it. The lock is an exclusive queue, which ends with its connection."""
    while True:
        async with connection.channel() as channel:
            try:
                held = await channel.declare_queue(name, exclusive=True)
            except ChannelLockedResource:
                await asyncio.sleep(0.5)
                continue
            try:
                yield
            finally:
                await held.delete()
            return


async def exists(connection: AbstractConnection, name: str) -> bool:
    """Whether there is a queue of this name. The caller has a lock, as this declares the queue and deletes it at once:
    RabbitMQ logs an error for each queue that a passive declaration does not find."""
    async with connection.channel() as channel:
        try:
            declared = await channel.declare_queue(name, exclusive=True)
        except (ChannelLockedResource, ChannelPreconditionFailed):
            return True
        await declared.delete()
        return False


async def is_idle(connection: AbstractConnection, name: str) -> bool:
    """Whether the queue has neither messages nor consumers. Says nothing about messages that are unacknowledged."""
    async with connection.channel() as channel:
        found = (await channel.declare_queue(name, passive=True)).declaration_result
        return not found.message_count and not found.consumer_count
