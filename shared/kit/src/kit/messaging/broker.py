"""Publishing with confirms: a message is published when the broker has confirmed it, and not before."""

from __future__ import annotations

import asyncio
import struct
from datetime import UTC, datetime
from uuid import uuid4

import aio_pika
from aio_pika.abc import AbstractExchange, AbstractRobustChannel, AbstractRobustConnection
from aio_pika.exceptions import AMQPError, DeliveryError

from kit.messaging.outbox import EVENTS_EXCHANGE, OutgoingMessage
from kit.messaging.publishers import KEY_HEADER, login_of
from kit.messaging.topology import own_exchange
from kit.runtime.failures import Permanent, Transient


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
        self._channel: AbstractRobustChannel | None = None
        self._exchanges: dict[str, AbstractExchange] = {}
        self._connecting = asyncio.Lock()

    async def publish(self, message: OutgoingMessage) -> None:
        """Publishes a persistent message and waits for the confirm, at most `timeout` seconds (including a reconnect).

        Raises Unroutable for a mandatory message that no queue has received, Unpublishable for one that AMQP cannot
        carry, and BrokerDown without a confirm.
        """
        try:
            async with asyncio.timeout(self._timeout):
                # rows of an earlier version name the default exchange, to which no service may write
                name = message.exchange or own_exchange(message.routing_key.partition(".")[0])
                exchange = await self._exchange(name)
                await exchange.publish(self._to_amqp(message), message.routing_key, mandatory=message.mandatory)
        except (TypeError, ValueError, struct.error) as error:
            raise Unpublishable(type(error).__name__) from error
        except DeliveryError as error:
            raise Unroutable(f"nothing is bound to {message.exchange or 'queue'} {message.routing_key}") from error
        except (AMQPError, OSError, TimeoutError, RuntimeError) as error:
            raise BrokerDown(type(error).__name__) from error

    async def ping(self) -> None:
        """Raises BrokerDown unless the broker answers on the publishing channel."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._exchange("")
                if self._connection is None or not self._connection.connected.is_set():
                    raise BrokerDown("reconnecting")
        except (AMQPError, OSError, TimeoutError, RuntimeError) as error:
            raise BrokerDown(type(error).__name__) from error

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    def _to_amqp(self, message: OutgoingMessage) -> aio_pika.Message:
        headers = dict(message.headers)
        if message.exchange != EVENTS_EXCHANGE:
            headers[KEY_HEADER] = message.key
        return aio_pika.Message(
            body=message.body,
            headers=headers,
            # One per publishing, not per event (whose id is in the headers): aiormq matches returned messages by it.
            message_id=uuid4().hex,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            timestamp=datetime.now(UTC),
            user_id=self._login,
        )

    async def _exchange(self, name: str) -> AbstractExchange:
        async with self._connecting:
            if self._connection is None or self._connection.is_closed:
                self._exchanges.clear()
                self._connection = await aio_pika.connect_robust(
                    self._url,
                    reconnect_interval=0.5,
                    fail_fast=True,
                    client_properties={"connection_name": self._name},
                )
                self._channel = None
            if self._channel is None or self._channel.is_closed:
                self._exchanges.clear()
                self._channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
            if (exchange := self._exchanges.get(name)) is None:
                exchange = (
                    await self._channel.get_exchange(name, ensure=False) if name else self._channel.default_exchange
                )
                self._exchanges[name] = exchange
        if self._connection.transport is not None:
            # waits while the broker blocks the connection (an alarm): a message written now would arrive late, and so
            # would every retry of it
            await self._connection.transport.connection.ready()
        return exchange
