"""What is erased stays erased: events that name an erased identifier are processed without personal data."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Column, DateTime, Table, Text, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts import personal_data
from contracts.envelope import Envelope
from kit.db.database import KIT_TABLES

LOCK = "hashtextextended('erased_identifiers', 0)"
"""The key of an advisory lock. A transaction that writes what an event says holds it shared; one that adds identifiers
holds it alone, so that no transaction that does not know them is left when it commits."""

erased_identifiers = Table(
    "erased_identifiers",
    KIT_TABLES,
    Column("identifier", Text, primary_key=True),
    Column("erased_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

_LOCK_SHARED = text(f"SELECT pg_advisory_xact_lock_shared({LOCK})")
_LOCK_ALONE = text(f"SELECT pg_advisory_xact_lock({LOCK})")
_FIND = text("SELECT identifier FROM erased_identifiers WHERE identifier = ANY (CAST(:identifiers AS text[]))")
_ADD = text(
    "INSERT INTO erased_identifiers (identifier)"
    " SELECT DISTINCT each FROM unnest(CAST(:identifiers AS text[])) AS each ORDER BY each ON CONFLICT DO NOTHING"
)


async def lock_shared(db: AsyncConnection) -> None:
    """Before `find`, in a statement of its own: the next one sees what the lock has waited for."""
    await db.execute(_LOCK_SHARED)


async def lock(db: AsyncConnection) -> None:
    """Waits for the transactions that hold the lock shared; those that come later wait for this one."""
    await db.execute(_LOCK_ALONE)


async def add(db: AsyncConnection, identifiers: Collection[str]) -> None:
    """The caller holds the lock."""
    await db.execute(_ADD, {"identifiers": list(identifiers)})


async def find(db: AsyncConnection, identifiers: Collection[str]) -> frozenset[str]:
    """Those of them that are erased."""
    if not identifiers:
        return frozenset()
    return frozenset(await db.scalars(_FIND, {"identifiers": list(identifiers)}))


async def is_erased(db: AsyncConnection, person: UUID) -> bool:
    wanted = select(erased_identifiers).where(erased_identifiers.c.identifier == str(person))
    return (await db.execute(wanted)).first() is not None


async def without_personal_data(db: AsyncConnection, events: Sequence[Envelope[Any]]) -> list[Envelope[Any] | None]:
    """The events, those of erased people without personal data. None: nothing is left of it. The caller holds the lock
    shared."""
    named = [identifiers_of(event) for event in events]
    erased = await find(db, frozenset().union(*named))
    return [
        event if not erased or erased.isdisjoint(names) else personal_data.without(event)
        for event, names in zip(events, named, strict=True)
    ]


def identifiers_of(event: Envelope[Any]) -> frozenset[str]:
    return personal_data.identifiers(event.received or event.body()) | {event.subject}
