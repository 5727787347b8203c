"""Every event, appended as it was received, without personal data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.envelope import Envelope
from reporting import domain
from reporting.tables import events

MOST_ROUNDS = 5
"""How many links, from payment to payment, are followed to find the events of a purchase."""
MOST_EVENTS = 5_000

# The key holds within a month, so the other months are looked up (OFFSET 0: by index for each id).
_APPEND = text(
    """
    INSERT INTO events (
        event_id, type, source, subject, time, correlation_id, causation_id, purchase_id, student_id, refs, data
    )
    SELECT event_id, type, source, subject, time, correlation_id, causation_id, purchase_id, student_id,
        string_to_array(refs, ' '), CAST(data AS json)
    FROM unnest(
        CAST(:ids AS text[]), CAST(:types AS text[]), CAST(:sources AS text[]), CAST(:subjects AS text[]),
        CAST(:times AS timestamptz[]), CAST(:correlation_ids AS text[]), CAST(:causation_ids AS text[]),
        CAST(:purchase_ids AS uuid[]), CAST(:student_ids AS uuid[]), CAST(:refs AS text[]), CAST(:data AS text[])
    ) AS new (
        event_id, type, source, subject, time, correlation_id, causation_id, purchase_id, student_id, refs, data
    )
    WHERE NOT EXISTS (SELECT FROM events AS old WHERE old.event_id = new.event_id OFFSET 0)
    ORDER BY event_id
    ON CONFLICT DO NOTHING
    """
)


async def append(db: AsyncConnection, received: Sequence[Envelope[Any]]) -> None:
    """Adds the events that are not there yet, in one statement."""
    bodies = [json.loads(event.received or event.body()) for event in received]
    stored = [domain.without_personal_data(event.type, body) for event, body in zip(received, bodies, strict=True)]
    await db.execute(
        _APPEND,
        {
            "ids": [event.id for event in received],
            "types": [event.type for event in received],
            "sources": [event.source for event in received],
            "subjects": [event.subject for event in received],
            "times": [event.time for event in received],
            "correlation_ids": [event.correlation_id or event.id for event in received],
            "causation_ids": [event.causation_id for event in received],
            "purchase_ids": [domain.uuid_of(body, "purchase_id") for body in bodies],
            "student_ids": [domain.uuid_of(body, "student_id") for body in bodies],
            "refs": [" ".join(domain.references(event.id, body)) for event, body in zip(received, bodies, strict=True)],
            "data": [json.dumps(body) for body in stored],
        },
    )


async def timeline(db: AsyncConnection, purchase_id: UUID) -> Sequence[RowMapping]:
    """Every event of the purchase, oldest first: those that name it, and those about one of its payments that name no
    purchase. At most MOST_EVENTS."""
    named = or_(events.c.purchase_id == purchase_id, events.c.subject == str(purchase_id))
    refs: frozenset[str] = frozenset()
    for _ in range(MOST_ROUNDS):
        linked = events.c.purchase_id.is_(None) & events.c.refs.overlap(sorted(refs))
        selected = or_(named, linked) if refs else named
        found = await db.scalars(select(func.unnest(events.c.refs)).where(selected).distinct())
        more = domain.linking(frozenset(found))
        if more <= refs:
            break
        refs |= more
    linked = events.c.purchase_id.is_(None) & events.c.refs.overlap(sorted(refs))
    selected = or_(named, linked) if refs else named
    in_order = select(events).where(selected).order_by(events.c.time, events.c.received_at, events.c.event_id)
    return (await db.execute(in_order.limit(MOST_EVENTS))).mappings().all()


async def maintain(db: AsyncConnection, *, keep: timedelta) -> None:
    """Creates partitions ahead, and drops those whose month ended longer than `keep` ago."""
    await db.execute(select(func.maintain_event_partitions(keep)))
