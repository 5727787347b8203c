"""Publishing with confirms: a message is published when the broker has confirmed it, and not before."""

from __future__ import annotations

import asyncio
import struct
from datetime import UTC, datetime
from typing import cast
from uuid import uuid4

import aio_pika
import aiormq
from aio_pika.abc import AbstractRobustChannel, AbstractRobustConnection
from aio_pika.exceptions import AMQPError, DeliveryError

from contracts.envelope import PREFIX
from kit.messaging.outbox import EVENTS_EXCHANGE, OutgoingMessage
from kit.messaging.publishers import KEY_HEADER, login_of
from kit.messaging.topology import own_exchange
from kit.runtime.failures import Permanent, Transient

CHANNELS = 8
"""The channels of a publisher. A quorum queue with more than 32 messages of a channel that are not confirmed makes the
broker stop reading from that channel (https://www.rabbitmq.com/docs/quorum-queues, `quorum_commands_soft_limit`)."""

_SUBJECT = PREFIX + "subject"


class Unroutable(Transient):
    """No queue is bound for this message."""


class BrokerDown(Transient):
    """The broker did not confirm: unreachable, too slow, or refusing. The message may or may not have arrived."""


class Unpublishable(Permanent):
    """AMQP cannot carry this message."""


class Publisher:
    """Has its own connection: a broker that throttles publishers blocks the whole connection."""

    def __init__(self, amqp_url: str, *, name: str, timeout: float = 5.0) -> None:
        self._url = amqp_url
        self._login = login_of(amqp_url)
        self._name = name
        self._timeout = timeout
        self._connection: AbstractRobustConnection | None = None
        self._channels: dict[int, AbstractRobustChannel] = {}
        self._connecting = asyncio.Lock()
        self._confirms = False
        """Whether the last publishing was confirmed."""

    async def publish(self, message: OutgoingMessage) -> None:
        """Publishes a persistent message and waits for the confirm, at most `timeout` seconds (including a reconnect).

        Raises Unroutable for a mandatory message that no queue has received, Unpublishable for one that AMQP cannot
        carry, and BrokerDown without a confirm.
        """
        try:
            async with asyncio.timeout(self._timeout):
                # by the subject: what one relay publishes about a purchase arrives in that order
                channel = await self._ready_channel(hash(message.headers.get(_SUBJECT, message.key)) % CHANNELS)
                await channel.basic_publish(
                    message.body,
                    # rows of an earlier version name the default exchange, to which no service may write
                    exchange=message.exchange or own_exchange(message.routing_key.partition(".")[0]),
                    routing_key=message.routing_key,
                    properties=self._properties(message),
                    mandatory=message.mandatory,
                    # aiormq keeps the channel locked until the socket has taken the message: one at a time, each with a
                    # system call of its own. But what a broker does not confirm is not piled up in memory.
                    wait=not self._confirms,
                )
            self._confirms = True
        except (TypeError, ValueError, struct.error) as error:
            raise Unpublishable(type(error).__name__) from error
        except DeliveryError as error:
            raise Unroutable(f"nothing is bound to {message.exchange or 'queue'} {message.routing_key}") from error
        except (AMQPError, OSError, TimeoutError, RuntimeError) as error:
            self._confirms = False
            raise BrokerDown(type(error).__name__) from error

    async def ping(self) -> None:
        """Raises BrokerDown unless the broker answers on the publishing channel."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._ready_channel(0)
                if self._connection is None or not self._connection.connected.is_set():
                    raise BrokerDown("reconnecting")
        except (AMQPError, OSError, TimeoutError, RuntimeError) as error:
            raise BrokerDown(type(error).__name__) from error

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    def _properties(self, message: OutgoingMessage) -> aiormq.spec.Basic.Properties:
        headers = dict(message.headers)
        if message.exchange != EVENTS_EXCHANGE:
            headers[KEY_HEADER] = message.key
        return aiormq.spec.Basic.Properties(
            headers=headers,
            # One per publishing, not per event (whose id is in the headers): aiormq matches returned messages by it.
            message_id=uuid4().hex,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            timestamp=datetime.now(UTC),
            user_id=self._login,
        )

    async def _ready_channel(self, number: int) -> aiormq.Channel:
        """This channel of the connection as it is now."""
        connection, channel = self._connection, self._channels.get(number)
        if connection is None or connection.is_closed or channel is None or channel.is_closed:
            connection, channel = await self._open(number)
        if connection.transport is not None:
            # waits while the broker blocks the connection (an alarm): a message written now would arrive late, and so
            # would every retry of it
            await connection.transport.connection.ready()
        # not aio-pika's exchange: it would add a quarter to what a message costs
        return cast(aiormq.Channel, await channel.get_underlay_channel())

    async def _open(self, number: int) -> tuple[AbstractRobustConnection, AbstractRobustChannel]:
        async with self._connecting:
            if self._connection is None or self._connection.is_closed:
                self._channels.clear()
                self._connection = await aio_pika.connect_robust(
                    self._url,
                    reconnect_interval=0.5,
                    fail_fast=True,
                    client_properties={"connection_name": self._name},
                )
            channel = self._channels.get(number)
            if channel is None or channel.is_closed:
                channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                self._channels[number] = channel
            return self._connection, channel
