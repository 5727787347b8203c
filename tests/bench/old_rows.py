"""Tables that have grown: the same figures with many old rows beside the new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench import consumers, relays
from tests.bench.stack import GATEWAY, Stack

_MONTH = "date_trunc('month', now() AT TIME ZONE 'UTC')::date"
_FILLS = {
    "enrollment": (
        ("inbox", "INSERT INTO inbox (queue, event_id) SELECT 'enrollment.payments', 'old_' || n FROM {numbers}"),
        (
            "outbox_messages",
            "INSERT INTO outbox_messages (message_key, exchange, routing_key, headers, body, mandatory) "
            "SELECT 'old_' || n, 'bursar.events', 'enrollment.activated.v1', '{{}}', "
            "convert_to(repeat('x', 300), 'UTF8'), true FROM {numbers}",
        ),
        (
            "facts",
            "INSERT INTO facts (event_id, group_id, type, time, body) SELECT 'old_' || n, md5((n / 3)::text)::uuid, "
            "'payment.succeeded.v1', now(), jsonb_build_object('refs', jsonb_build_object('payment_intent', n)) "
            "FROM {numbers}",
        ),
        (
            "fact_keys",
            "INSERT INTO fact_keys (key, group_id) SELECT 'old:' || n, md5((n / 3)::text)::uuid FROM {numbers}",
        ),
    ),
    GATEWAY: (
        (
            "journal_entries",
            "INSERT INTO journal_entries (event_id, month, published_at, event_count) "
            f"SELECT 'evt_old_' || n, {_MONTH}, now(), 1 FROM {{numbers}}",
        ),
        (
            "journal_events",
            "INSERT INTO journal_events (event_id, month, type, body, signature, source) "
            f"SELECT 'evt_old_' || n, {_MONTH}, 'payment_intent.succeeded', "
            "convert_to(repeat('x', 300), 'UTF8'), 't=0', 'webhook' FROM {numbers}",
        ),
    ),
}


@dataclass(frozen=True)
class Figures:
    """Product / bare of each path."""

    consumer: float
    outbox_relay: float
    journal_relay: float


async def fill(stack: Stack, *, first: int, last: int) -> None:
    """Adds the rows with these numbers to every table that grows."""
    for package, tables in _FILLS.items():
        async with stack.connected(package) as db:
            for start in range(first, last + 1, 1_000_000):
                numbers = f"generate_series({start}, {min(last, start + 999_999)}) AS n"
                for _, statement in tables:
                    await db.execute(statement.format(numbers=numbers))
            for table, _ in tables:
                await db.execute(f"ANALYZE {table}")


async def measure(stack: Stack, sizes: Sequence[int], *, events: int, rounds: int) -> list[Figures]:
    """The figures at each of these numbers of rows, smallest first."""
    found = []
    filled = 0
    for size in sizes:
        await fill(stack, first=filled + 1, last=size)
        filled = size
        product, bare = await consumers.compare(stack, "enrollment", events=events, rounds=rounds)
        outbox, journal, publish = await relays.measure(stack, events=events, rounds=rounds)
        found.append(Figures(product / bare, outbox / publish, journal / publish))
    return found
