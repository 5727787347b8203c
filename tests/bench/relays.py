"""Relays: how many stored messages they publish to five queues, with confirms."""

from __future__ import annotations

import itertools
from statistics import median

from tests.bench import gateway, histories, http_load
from tests.bench.stack import GATEWAY, Stack, rate, total
from tests.processes import RunningRole

from contracts.payments import PaymentSucceeded
from kit.db.database import Database
from kit.messaging import outbox
from kit.messaging.outbox import OutgoingMessage, to_message

OUTBOX = "enrollment"
"""Whose relay it is. Its messages are payment events, which go to the same five queues as the gateway's."""
SECONDS = 15.0
AT_LEAST = 6_000
"""Events: with fewer, a relay is done between two readings of its metrics."""
_runs = itertools.count(1)


async def of_outbox(stack: Stack, events: int) -> float:
    """Rows per second of a service's own relay."""
    run = f"r{next(_runs)}"
    number = 0
    messages: list[OutgoingMessage] = []
    while len(messages) < events:
        envelopes = histories.History(run, number).envelopes()
        messages += [to_message(each) for each in envelopes if isinstance(each.data, PaymentSucceeded)]
        number += 1
    database = Database(stack.databases[OUTBOX].url)
    try:
        for start in range(0, events, 500):
            async with database.transaction() as db:
                await outbox.put_all(db, messages[start : min(start + 500, events)])
    finally:
        await database.close()
    with stack.running(OUTBOX, "relay") as role:
        found = await _published(role, events)
    await stack.purge()
    return found


async def of_journal(stack: Stack, events: int) -> float:
    """Webhooks per second of the gateway's relay, of those that the API has journaled while no relay was running."""
    with stack.running(GATEWAY, "api") as api:
        await http_load.saturate(api.url, gateway.deliveries(api.url, events))
    with stack.running(GATEWAY, "relay") as role:
        found = await _published(role, events)
    await stack.purge()
    return found


async def _published(role: RunningRole, events: int) -> float:
    async def published() -> int:
        return int(sum((await total(role, "bursar_published_total")).values()))

    return await rate(published, events, seconds=SECONDS)


async def measure(stack: Stack, *, events: int, rounds: int) -> tuple[float, float, float]:
    """Medians of the outbox's relay, of the journal's relay, and of bare publish-then-answer, measured alternately."""
    found: list[tuple[float, float, float]] = []
    events = max(events, AT_LEAST)
    for _ in range(rounds):
        outbox_rate, journal_rate = await of_outbox(stack, events), await of_journal(stack, events)
        with gateway.bare(stack, "publish") as url:
            bare = await gateway.accepted(url, events)
        await stack.purge()
        found.append((outbox_rate, journal_rate, bare))
    first, second, third = zip(*found, strict=True)
    return median(first), median(second), median(third)
