"""Every event, appended as it was received, without personal data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, Text, and_, any_, false, func, literal, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts import personal_data
from contracts.audit import AuditRecorded
from contracts.envelope import Envelope
from contracts.text import storable
from reporting import domain
from reporting.tables import events

MOST_ROUNDS = 5
"""How many links, from payment to payment, are followed to find the events of a purchase."""
MOST_EVENTS = 5_000
MOST_PURCHASES = 20

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
    """Adds the events that are not there yet, in one statement. Text that PostgreSQL cannot hold is replaced."""
    bodies = [storable(json.loads(event.received or event.body())) for event in received]
    stored = [personal_data.removed(event.type, body) for event, body in zip(received, bodies, strict=True)]
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


@dataclass(frozen=True)
class Timeline:
    """`purchase_id` None: events about a payment that no event links to a purchase."""

    purchase_id: UUID | None
    events: Sequence[RowMapping]


async def timeline(db: AsyncConnection, purchase_id: UUID) -> Sequence[RowMapping]:
    """Every event of the purchase, oldest first: those that name it, and those about one of its payments that name no
    purchase. At most MOST_EVENTS."""
    named = or_(events.c.purchase_id == purchase_id, events.c.subject == str(purchase_id))
    refs = await _linked(db, named, frozenset())
    return await _in_order(db, or_(named, await _unnamed(db, refs)))


async def timelines_of_student(db: AsyncConnection, student_id: UUID) -> list[Timeline]:
    """Of the student's latest purchases, oldest first. At most MOST_PURCHASES."""
    return await _timelines(db, await _purchases(db, events.c.student_id == student_id))


async def timelines_about(db: AsyncConnection, stripe_id: str) -> list[Timeline]:
    """Of the purchases whose events name this object of Stripe, directly or by another object of the same payment. At
    most MOST_PURCHASES. If there is none, the events alone."""
    named = await _naming(db, [stripe_id])
    if purchases := await _purchases(db, named):
        return await _timelines(db, purchases)
    refs = await _linked(db, named, domain.linking(frozenset({stripe_id})))
    if refs and (purchases := await _purchases(db, await _naming(db, refs))):
        return await _timelines(db, purchases)
    found = await _in_order(db, or_(named, await _unnamed(db, refs)))
    return [Timeline(None, found)] if found else []


async def _linked(db: AsyncConnection, named: ColumnElement[bool], refs: frozenset[str]) -> frozenset[str]:
    """The references of these events, and of those that name no purchase and share one. An act may be about events of
    many purchases, so it links nothing."""
    for _ in range(MOST_ROUNDS):
        selected = or_(named, await _unnamed(db, refs))
        about_one = events.c.type != AuditRecorded.type
        found = await db.scalars(select(func.unnest(events.c.refs)).where(selected, about_one).distinct())
        more = domain.linking(frozenset(found))
        if more <= refs:
            break
        refs |= more
    return refs


async def _unnamed(db: AsyncConnection, refs: frozenset[str]) -> ColumnElement[bool]:
    """Those about one of these objects of Stripe that name no purchase."""
    return and_(events.c.purchase_id.is_(None), await _naming(db, refs)) if refs else false()


async def _naming(db: AsyncConnection, refs: Iterable[str]) -> ColumnElement[bool]:
    """Those that name one of these objects of Stripe. A condition on `refs` would have PostgreSQL read all events of
    all time for staff (revision 0009), so the function looks up their ids."""
    ids = await db.scalars(select(func.events_by_ref(literal(sorted(refs), ARRAY(Text)))))
    return events.c.event_id == any_(literal(ids.all(), ARRAY(Text)))


async def _purchases(db: AsyncConnection, selected: ColumnElement[bool]) -> list[UUID]:
    first = func.min(events.c.time)
    found = select(events.c.purchase_id).where(selected, events.c.purchase_id.is_not(None))
    latest = found.group_by(events.c.purchase_id).order_by(first.desc()).limit(MOST_PURCHASES)
    return [id for id in await db.scalars(latest) if id is not None][::-1]


async def _timelines(db: AsyncConnection, purchases: Sequence[UUID]) -> list[Timeline]:
    return [Timeline(id, await timeline(db, id)) for id in purchases]


async def _in_order(db: AsyncConnection, selected: ColumnElement[bool]) -> Sequence[RowMapping]:
    in_order = select(events).where(selected).order_by(events.c.time, events.c.received_at, events.c.event_id)
    return (await db.execute(in_order.limit(MOST_EVENTS))).mappings().all()


async def maintain(db: AsyncConnection, *, keep: timedelta) -> None:
    """Creates partitions ahead, and drops those whose month ended longer than `keep` ago."""
    await db.execute(select(func.maintain_event_partitions(keep)))
