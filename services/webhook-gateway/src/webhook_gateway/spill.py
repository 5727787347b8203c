"""The spill queue: holds events in the broker while the database is down, and is copied to the journal afterward."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import aio_pika
import structlog
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import AMQPError

from kit.http.problems import Problem
from kit.messaging.delivered import decode_everything
from kit.messaging.outbox import OutgoingMessage
from kit.messaging.publishers import is_vouched_for
from kit.runtime.outages import Outage
from webhook_gateway.event import StripeEvent, parse_event
from webhook_gateway.journal import EventConflict, Journal, JournalDown
from webhook_gateway.topology import SPILL

log = structlog.get_logger(__name__)

PREFETCH = 500
RETRY_SECONDS = 2.0
CHECK_SECONDS = 5.0
SIGNATURE_HEADER = "stripe-signature"


def spilled(event: StripeEvent) -> OutgoingMessage:
    """The event as a message of the spill queue."""
    return OutgoingMessage(
        key=event.id,
        exchange=SPILL.exchange,
        routing_key=SPILL.name,
        body=event.body,
        headers={SIGNATURE_HEADER: event.signature} if event.signature else {},
    )


class SpillDrain:
    """Copies the spill queue to the journal. A message is acknowledged when its event is committed.

    Many messages are in work at once, and the journal writes all that are waiting in one statement.
    """

    def __init__(self, amqp_url: str, journal: Journal, unsigned: Journal, *, operator: str = "deployment") -> None:
        """`unsigned`: for the messages of a version that sent no signature. Only those that `operator` has moved here
        when it replaced the queue are accepted: anyone with the gateway's password can write to the queue."""
        decode_everything()
        self._amqp_url = amqp_url
        self._journal = journal
        self._unsigned = unsigned
        self._operator = operator

    async def run(self, stop: asyncio.Event) -> None:
        outage = Outage("spill drain")
        while not stop.is_set():
            try:
                await self._drain(stop, outage)
            except (AMQPError, OSError, TimeoutError, RuntimeError, JournalDown) as error:
                outage.failed(error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), RETRY_SECONDS)

    async def _drain(self, stop: asyncio.Event, outage: Outage) -> None:
        """Until `stop` is set, or the journal or the broker is down: what is not acknowledged returns to the queue."""
        await self._journal.ping()
        connection = await aio_pika.connect(self._amqp_url, timeout=10)
        async with connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=PREFETCH)
            queue = await channel.get_queue(SPILL.name)
            down: asyncio.Future[JournalDown] = asyncio.get_running_loop().create_future()

            async def copy(message: AbstractIncomingMessage) -> None:
                try:
                    await self._copy(message)
                except JournalDown as error:
                    if not down.done():
                        down.set_result(error)

            await queue.consume(copy)
            outage.ended()
            stopping = asyncio.ensure_future(stop.wait())
            ended: tuple[asyncio.Future[Any], ...] = stopping, down
            try:
                while not stop.is_set():
                    await asyncio.wait(ended, timeout=CHECK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                    if down.done():
                        raise down.result()
                    await channel.get_queue(SPILL.name)  # raises if connection, channel or queue are gone
            finally:
                stopping.cancel()

    async def _copy(self, message: AbstractIncomingMessage) -> None:
        signature = message.headers.get(SIGNATURE_HEADER)
        try:
            event = parse_event(message.body, signature=str(signature) if signature else None)
            if event.signature:
                await self._journal.write(event)
            elif is_vouched_for(message, amqp_url=self._amqp_url, operator=self._operator):
                await self._unsigned.write(event)
            else:
                log.error("spilled event has no signature", event_id=event.id)
                await message.reject(requeue=False)
                return
        except Problem as error:  # only the gateway writes to this queue: dead-letter it for an operator
            log.error("spilled message is not an event", error=error.code)
            await message.reject(requeue=False)
        except EventConflict:
            await message.reject(requeue=False)
        else:
            await message.ack()
