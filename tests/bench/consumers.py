"""Consumers: a backlog of real events, against one bare transaction per message."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections import Counter
from collections.abc import Sequence
from statistics import median

import aiormq
from tests.bench import bare_consumer, histories
from tests.bench.latency_proxy import delaying
from tests.bench.stack import CONSUMERS, Stack, rate, total
from tests.processes import RunningRole

from checkout.purchases import repository
from checkout.purchases.domain import PurchaseRequest
from contracts.envelope import Envelope, Event
from contracts.money import usd
from kit.db.database import Database
from kit.db.unit_of_work import utc_now
from kit.messaging.outbox import to_message
from kit.messaging.publishers import login_of

BARE_QUEUE = "bench.bare"
SECONDS = 20.0
DELAY = 0.02
"""Between consumer and database, in each direction, where scaling out is measured."""
_runs = itertools.count(1)


async def publish(stack: Stack, messages: Sequence[tuple[str, Envelope[Event]]]) -> None:
    """Straight to each message's queue."""
    connection = await aiormq.connect(stack.amqp_url)
    try:
        channel = await connection.channel(publisher_confirms=True)
        for start in range(0, len(messages), 200):
            await asyncio.gather(
                *(
                    channel.basic_publish(
                        (message := to_message(envelope)).body,
                        exchange="",
                        routing_key=queue,
                        properties=aiormq.spec.Basic.Properties(
                            headers=dict(message.headers),
                            content_type="application/json",
                            delivery_mode=2,
                            user_id=login_of(stack.amqp_url),
                        ),
                    )
                    for queue, envelope in messages[start : start + 200]
                )
            )
    finally:
        await connection.close()


async def bare(stack: Stack, package: str, events: int) -> float:
    """The bare consumer's messages/s, on the service's database."""
    messages, _ = histories.backlog(CONSUMERS[package], events, run=f"b{next(_runs)}")
    await stack.declare(BARE_QUEUE)
    async with stack.connected(package) as db:
        await db.execute(bare_consumer.TABLES)
    await publish(stack, [(BARE_QUEUE, envelope) for _, envelope in messages])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.bench.bare_consumer", BARE_QUEUE, str(events)),
        env={**os.environ, "AMQP_URL": stack.amqp_url, "DATABASE_URL": stack.databases[package].owner_url},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 300)
    finally:
        if process.returncode is None:
            process.kill()
    return float(out)


async def product(
    stack: Stack, package: str, events: int, *, processes: int = 1, seconds: float = SECONDS, **environment: str
) -> float:
    """The messages/s of the service's own consumers."""
    run = f"p{next(_runs)}"
    messages, purchases = histories.backlog(CONSUMERS[package], events, run=run)
    if package == "checkout":
        await start_purchases(
            stack.databases["checkout"].url, [histories.History(run, number) for number in range(purchases)]
        )
    await publish(stack, messages)
    with stack.running_many(package, "consumers", processes, **environment) as roles:

        async def handled() -> int:
            return sum([await _handled(role) for role in roles])

        found = await rate(handled, events, seconds=seconds)
    await stack.purge()
    return found


async def _handled(role: RunningRole) -> int:
    """Raises RuntimeError if it could not process one of the messages."""
    by_outcome: Counter[str] = Counter()
    for labels, number in (await total(role, "bursar_messages_total")).items():
        by_outcome[dict(labels)["outcome"]] += int(number)
    if by_outcome["dead_lettered"] or by_outcome["rejected"]:
        raise RuntimeError(f"{role.name}: {dict(by_outcome)}\n{role.tail()}")
    return by_outcome["handled"]


async def scale_out(stack: Stack, *, events: int, rounds: int) -> tuple[float, float]:
    """Medians of four consumers and of one, with a database that answers late, so that neither it nor the cores of
    this machine are the limit."""
    pairs = []
    for _ in range(rounds):
        with delaying(stack.databases["enrollment"].url, seconds=DELAY) as url:
            four = await product(stack, "enrollment", events, processes=4, seconds=SECONDS / 2, DATABASE_URL=url)
            one = await product(stack, "enrollment", events, seconds=SECONDS / 2, DATABASE_URL=url)
        pairs.append((four, one))
    return median(four for four, _ in pairs), median(one for _, one in pairs)


async def start_purchases(url: str, purchases: Sequence[histories.History]) -> None:
    """As checkout's API leaves them when the payer is sent to Stripe's page."""
    database = Database(url)
    try:
        async with database.transaction() as db:
            for each in purchases:
                request = PurchaseRequest(student_id=each.student_id, program=each.program, amount=usd(each.price))
                await repository.insert_purchase(db, each.purchase_id, request, params={}, at=utc_now())
    finally:
        await database.close()


async def compare(stack: Stack, package: str, *, events: int, rounds: int) -> tuple[float, float]:
    """Medians of product and bare, measured alternately."""
    pairs = [(await product(stack, package, events), await bare(stack, package, events)) for _ in range(rounds)]
    return median(p for p, _ in pairs), median(b for _, b in pairs)
