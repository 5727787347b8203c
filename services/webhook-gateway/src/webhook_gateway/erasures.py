"""Erases people in the journal. Their events stay, as they are translated, without personal data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.personal_data import identifiers
from kit.http.problems import Problem
from kit.messaging.outbox import to_message
from kit.personal_data import erased
from kit.personal_data.declaration import Person, PersonalData, patterns
from kit.personal_data.erasure import chunks
from webhook_gateway.due import DueEvent
from webhook_gateway.event import decode
from webhook_gateway.fingerprint import fingerprint
from webhook_gateway.redaction import encoded, redacted_message, students
from webhook_gateway.tables import journal_entries
from webhook_gateway.translate import translate

_NAMING = text(
    "SELECT event_id, body, received_at FROM journal_events WHERE month = :month AND source <> 'erased'"
    " AND event_id > :after AND event_id <= :last"
    " AND encode(body, 'escape') LIKE ANY (CAST(:patterns AS text[]))"
)
_REWRITE = text(
    """
    WITH new AS (
        SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:bodies AS bytea[]), CAST(:translations AS bytea[]))
            AS each (event_id, body, translation)
    ), entry AS (
        UPDATE journal_entries AS old SET translation = new.translation FROM new
        WHERE old.event_id = new.event_id AND old.translation IS NOT NULL AND old.event_count > 0
    )
    UPDATE journal_events AS old SET body = new.body, signature = NULL, source = 'erased' FROM new
    WHERE old.event_id = new.event_id
    """
)


_OF_A_PAYMENT = ("ch_", "cs_", "in_", "pi_", "py_", "re_", "sub_")
"""Ids that one payer's events have in common, and nobody else's."""


async def erase_journal(db: AsyncConnection, person: Person) -> Mapping[str, int]:
    """One partition after the other. Events that are still due stay as they are until their signature was verified: the
    relay erases them when it publishes them."""
    like = patterns(person.identifiers)
    changed = 0
    for month in await _months(db):
        async for bounds in chunks(db, "journal_events", "event_id", "", "month = :month", month=month):
            rows = (await db.execute(_NAMING, {"month": month, "patterns": like, **bounds})).all()
            due = await _due(db, [row.event_id for row in rows])
            kept = [(row.event_id, row.body, row.received_at) for row in rows if row.event_id not in due]
            changed += len(kept)
            await rewrite(db, kept)
    return {"journal_events": changed}


async def rewrite(db: AsyncConnection, events: Sequence[tuple[str, bytes, datetime]]) -> None:
    """Of each: id, body, and when it was received. What was published for it counts as published without personal data:
    otherwise, its translation would seem to have changed."""
    if not events:
        return
    bodies = [_encoded(body) for _, body, _ in events]
    translations = [
        fingerprint([to_message(each) for each in translate(decode(body), received_at=received_at)])
        for body, (_, _, received_at) in zip(bodies, events, strict=True)
    ]
    await db.execute(_REWRITE, {"ids": [id for id, _, _ in events], "bodies": bodies, "translations": translations})


async def events_about(db: AsyncConnection, person_id: UUID) -> list[dict[str, Any]]:
    """The events that name the person, and those that name a payment which such an event names; oldest first."""
    named = await _naming(db, frozenset({str(person_id)}))
    payments = frozenset(id for row in named.values() for id in identifiers(row.body) if id.startswith(_OF_A_PAYMENT))
    found = named | (await _naming(db, payments) if payments else {})
    rows = sorted(found.values(), key=lambda row: (row.received_at, row.event_id))
    return [
        {"event_id": row.event_id, "received_at": row.received_at.isoformat(), "event": dict(decode(row.body))}
        for row in rows
    ]


async def _naming(db: AsyncConnection, names: frozenset[str]) -> dict[str, Any]:
    found = {}
    for month in await _months(db):
        async for bounds in chunks(db, "journal_events", "event_id", "", "month = :month", month=month):
            rows = await db.execute(_NAMING, {"month": month, "patterns": patterns(names), **bounds})
            found.update({row.event_id: row for row in rows})
    return found


async def find_erased(db: AsyncConnection, events: Iterable[DueEvent]) -> frozenset[str]:
    """The ids of those events that name somebody who is erased. From now on, nobody is added until the caller's
    transaction ends."""
    await erased.lock_shared(db)
    named = {event.event_id: _names(event.body) for event in events if event.body is not None}
    found = await erased.find(db, frozenset().union(*named.values()))
    return frozenset(id for id, names in named.items() if not found.isdisjoint(names)) if found else frozenset()


def _names(body: bytes) -> frozenset[str]:
    named = identifiers(body)
    if b"client_reference_id" not in body and b"userId" not in body and b"student_id" not in body:
        return named
    try:
        return named | students(decode(body))
    except (Problem, RecursionError):
        return named


def _encoded(body: bytes) -> bytes:
    try:
        return encoded(decode(body))
    except (Problem, RecursionError):
        return b"{}"


async def _due(db: AsyncConnection, event_ids: Sequence[str]) -> frozenset[str]:
    statement = text("SELECT event_id FROM journal_due WHERE event_id = ANY (CAST(:ids AS text[]))")
    return frozenset(await db.scalars(statement, {"ids": list(event_ids)}))


async def _months(db: AsyncConnection) -> list[date]:
    first: date | None = (await db.execute(select(func.min(journal_entries.c.month)))).scalar_one()
    months = []
    while first is not None and first <= datetime.now(UTC).date():
        months.append(first)
        first = (first + timedelta(days=31)).replace(day=1)
    return months


PERSONAL = PersonalData(erase=erase_journal, message=redacted_message)
