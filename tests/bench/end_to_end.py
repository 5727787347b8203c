"""From Stripe's delivery to an open enrollment: the gateway's API and relay, and enrollment's consumers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from tests.bench import histories, http_load
from tests.bench.bare_gateway import PATH
from tests.bench.http_load import Load
from tests.bench.stack import GATEWAY, Stack, rate, total
from tests.processes import RunningRole
from tests.webhook_gateway import stripe_events as stripe

POLL_SECONDS = 0.005
ACTIVE = "SELECT student_id FROM enrollments WHERE status = 'active' AND student_id = ANY($1::uuid[])"
COUNT = "SELECT count(*) FROM enrollments WHERE status = 'active'"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Running:
    url: str
    consumers: RunningRole
    database: asyncpg.Connection


@asynccontextmanager
async def running(stack: Stack) -> AsyncIterator[Running]:
    async with AsyncExitStack() as exits:
        api = exits.enter_context(stack.running(GATEWAY, "api"))
        exits.enter_context(stack.running(GATEWAY, "relay"))
        consumers = exits.enter_context(stack.running("enrollment", "consumers"))
        database = await exits.enter_async_context(stack.connected("enrollment"))
        yield Running(api.url, consumers, database)
    await stack.purge()


def purchases(url: str, events: int) -> tuple[list[bytes], list[UUID]]:
    """Deliveries that each open an enrollment, and their students."""
    requests, students = [], []
    for number in itertools.islice(_numbers, events):
        student = histories.random_like(f"{time.time()}/{number}")
        metadata: dict[str, Any] = {
            **stripe.OUR_METADATA,
            "student_id": str(student),
            "purchase_id": str(histories.random_like(f"{student}/purchase")),
            "price": "489000",
            "price_currency": "usd",
        }
        intent = stripe.intent(id=f"pi_{student}", latest_charge=f"ch_{student}", metadata=metadata)
        body = stripe.body_of(stripe.event("payment_intent.succeeded", intent, id=f"evt_{student}"))
        requests.append(http_load.request(url + PATH, body, {"Stripe-Signature": stripe.sign(body)}))
        students.append(student)
    return requests, students


async def capacity(stack: Stack, events: int) -> float:
    """Deliveries per second that open an enrollment, with everything running."""
    async with running(stack) as roles:

        async def handled() -> int:
            return int(sum((await total(roles.consumers, "bursar_messages_total")).values()))

        requests, _ = purchases(roles.url, events)
        sending = asyncio.create_task(http_load.saturate(roles.url, requests))
        found = await rate(handled, events, seconds=60)
        await sending
    return found


async def delays(stack: Stack, *, per_second: float, seconds: float) -> list[float]:
    """Milliseconds from the 200 to the open enrollment, for each delivery at this rate."""
    async with running(stack) as roles:
        requests, students = purchases(roles.url, int(per_second * seconds))
        opened_at: dict[UUID, float] = {}
        watching = asyncio.create_task(_watch(roles.database, students, opened_at))
        load = await http_load.steady(roles.url, requests, per_second=per_second)
        await asyncio.wait_for(watching, 60)
    return [1000 * max(0.0, opened_at[students[each.index]] - each.finished_at) for each in load.accepted]


async def _watch(database: asyncpg.Connection, students: list[UUID], opened_at: dict[UUID, float]) -> None:
    """Notes when each enrollment is first seen. Only the oldest that are not open yet are looked for."""
    waiting = dict.fromkeys(students)
    while waiting:
        oldest = list(itertools.islice(waiting, 500))
        rows = await database.fetch(ACTIVE, oldest)
        now = time.time()
        for row in rows:
            opened_at[row["student_id"]] = now
            del waiting[row["student_id"]]
        await asyncio.sleep(POLL_SECONDS)


async def recovery(stack: Stack, *, per_second: float, seconds: float) -> tuple[float, float]:
    """The length of an outage of the broker, and how long the backlog took to clear after it, both in seconds.

    Deliveries continue at this rate throughout. It is clear when what is accepted and not open is less than a fifth of
    a second's deliveries.
    """
    async with running(stack) as roles:
        before = await roles.database.fetchval(COUNT)
        requests, _ = purchases(roles.url, int(per_second * seconds * 6))
        began = time.time()
        sending: asyncio.Task[Load] = asyncio.create_task(http_load.steady(roles.url, requests, per_second=per_second))
        await asyncio.sleep(3)
        down_at = time.time()
        await asyncio.to_thread(stack.rabbitmq.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(stack.rabbitmq.start)
        up_at = time.time()
        while True:
            opened = await roles.database.fetchval(COUNT) - before
            sent = min(len(requests), (time.time() - began) * per_second)
            if sent - opened < 0.2 * per_second:
                break
            if time.time() > up_at + 20 * seconds:
                raise TimeoutError(f"{sent - opened:.0f} deliveries are not open yet")
            await asyncio.sleep(0.1)
        cleared_at = time.time()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    return up_at - down_at, cleared_at - up_at
