"""Compares what was published for journaled events with what the current translation says.

An event for which nothing was published, and now something is, is published: the mended translation reads what an older
one ignored. An event that was published otherwise is only reported: it has the same id as before, so consumers would
ignore it (docs/decisions/0026-a-mended-translation-publishes-what-was-ignored.md).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import Row, func, select

from contracts.audit import Actor
from kit.db.database import Database
from kit.messaging.outbox import to_message
from webhook_gateway.event import decode
from webhook_gateway.fingerprint import fingerprint
from webhook_gateway.replay import replay
from webhook_gateway.tables import journal_entries, journal_events
from webhook_gateway.translate import translate

BATCH = 500

PublishedRow: TypeAlias = Row[Any, Any, Any, Any, Any, Any]  # Any: SQLAlchemy does not infer the columns


@dataclass
class Retranslated:
    """`ignored`: the ids of events for which nothing was published, and now something is. `changed`: the ids and types
    of those that were published otherwise. `unknown`: how many were published by a version that kept no fingerprint."""

    compared: int = 0
    unknown: int = 0
    ignored: list[str] = field(default_factory=list)
    changed: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"events compared: {self.compared}, ignored before: {len(self.ignored)}, "
            f"published otherwise: {len(self.changed)}, without a fingerprint: {self.unknown}"
        )


async def compare(database: Database, *, since: datetime | None = None) -> Retranslated:
    """Of all published events that were received since then, or of all that the journal has. Only reads."""
    result = Retranslated()
    async for rows in _published(database, since):
        for row in rows:
            _compare(row, result)
    return result


async def publish_ignored(database: Database, result: Retranslated, *, actor: Actor | None = None) -> int:
    """Makes the events due for which nothing was published. Returns how many. `actor`: for the audit trail."""
    return await replay(database, event_ids=result.ignored, actor=actor) if result.ignored else 0


def _compare(row: PublishedRow, result: Retranslated) -> None:
    messages = [to_message(each) for each in translate(decode(row.body), received_at=row.received_at)]
    result.compared += 1
    if not row.event_count:
        if messages:
            result.ignored.append(row.event_id)
    elif row.translation is None:
        result.unknown += 1
    elif row.translation != fingerprint(messages):
        result.changed.append((row.event_id, row.type))


async def _published(database: Database, since: datetime | None) -> AsyncIterator[Sequence[PublishedRow]]:
    """By the months of their receipt, so that each query reads one partition by its key."""
    async with database.transaction() as db:
        first: date | None = (await db.execute(select(func.min(journal_entries.c.month)))).scalar_one()
    if first is None:
        return
    month, last = first, datetime.now(UTC).date()
    if since is not None:
        month = max(first, since.astimezone(UTC).date().replace(day=1))
    while month <= last:
        after = ""
        while rows := await _read(database, month, after, since):
            yield rows
            after = rows[-1].event_id
        month = (month + timedelta(days=31)).replace(day=1)


async def _read(database: Database, month: date, after: str, since: datetime | None) -> Sequence[PublishedRow]:
    events, entries = journal_events.c, journal_entries.c
    statement = (
        select(events.event_id, events.type, events.body, events.received_at, entries.event_count, entries.translation)
        .join(journal_entries, entries.event_id == events.event_id)
        .where(events.month == month, events.event_id > after, entries.published_at.is_not(None))
        .order_by(events.event_id)
        .limit(BATCH)
    )
    if since is not None:
        statement = statement.where(events.received_at >= since)
    async with database.transaction() as db:
        return (await db.execute(statement)).all()
