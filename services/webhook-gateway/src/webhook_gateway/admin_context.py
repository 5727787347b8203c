"""What the admin API works with."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, cast

from aio_pika.exceptions import AMQPError
from fastapi import Depends, Request
from pydantic import Field

from contracts.audit import Actor
from kit.db.database import Database
from kit.messaging.dead_letters import DeadLetters, connected
from kit.messaging.publishers import login_of
from webhook_gateway.object_reconciler import ComparedObjects
from webhook_gateway.problems import BROKER_UNAVAILABLE, QUEUE_IN_USE, UNKNOWN_QUEUE
from webhook_gateway.reconciler import Reconciled

WAIT_SECONDS = 5
Reconcile = Callable[[datetime, datetime | None, Actor], Awaitable[tuple[Reconciled, ComparedObjects]]]
"""Compares a period with Stripe, events and objects, and journals what is missing, by order of this actor."""


@dataclass(frozen=True, kw_only=True)
class AdminContext:
    """`amqp_url`: with the deployment's login. `queues`: the only ones whose dead letters can be named.
    `target_webhook_delivery`: see AdminSettings."""

    database: Database
    amqp_url: str
    queues: tuple[str, ...]
    reconcile: Reconcile
    target_webhook_delivery: int
    reconciling: asyncio.Lock = field(default_factory=asyncio.Lock)
    reading: Mapping[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    @asynccontextmanager
    async def dead_letters(self, *queues: str) -> AsyncIterator[list[DeadLetters]]:
        """One request at a time for each queue: a reader has all of its messages, and others would find none.

        Raises a 404 Problem for a queue that is not in the list, and a 503 Problem if the broker does not answer, or
        others are reading.
        """
        if not set(queues) <= set(self.queues):
            raise UNKNOWN_QUEUE()
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    for queue in sorted(set(queues)):
                        await held.enter_async_context(self.reading[queue])
            except TimeoutError:
                raise QUEUE_IN_USE(headers={"Retry-After": "5"}) from None
            async with self._connected(queues) as found:
                yield found

    @asynccontextmanager
    async def _connected(self, queues: Sequence[str]) -> AsyncIterator[list[DeadLetters]]:
        try:
            async with connected(self.amqp_url) as connection:
                yield [DeadLetters(connection, queue, login=login_of(self.amqp_url)) for queue in queues]
        except (AMQPError, OSError) as error:
            detail = f"The broker did not do it ({type(error).__name__}). Look at the queue, and retry."
            raise BROKER_UNAVAILABLE(detail, headers={"Retry-After": "2"}) from None


def current_context(request: Request) -> AdminContext:
    return cast(AdminContext, request.app.state.context)


Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""For the audit trail: a line of text."""
CurrentContext = Annotated[AdminContext, Depends(current_context)]
