"""The audit records: appended in one chain, searched, and verified."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Row, Text, cast, exists, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.audit import AuditRecorded
from contracts.envelope import Envelope
from kit.personal_data.erased import erased_identifiers
from reporting.chain import BEGINNING, AuditRecord, Verification, next_hash, record_of
from reporting.tables import audit_records

LOCK = "audit_records"
CHUNK = 1_000

_APPEND = text(
    """
    INSERT INTO audit_records (
        position, id, event_id, service, created_at, actor_id, actor_role, action, object_type, object_id, purchase_id,
        student_id, refs, before, after, reason, address, trace_id, previous_hash, hash
    ) VALUES (
        :position, :id, :event_id, :service, :created_at, :actor_id, :actor_role, :action, :object_type, :object_id,
        :purchase_id, :student_id, :refs, CAST(:before AS json), CAST(:after AS json), :reason, :address, :trace_id,
        :previous_hash, :hash
    )
    """
)


# A record that only claims to be erased is verified like any other.
_ABOUT_ERASED = exists().where(
    erased_identifiers.c.identifier.in_(
        (cast(audit_records.c.student_id, Text), cast(audit_records.c.purchase_id, Text))
    )
)


async def append(db: AsyncConnection, received: Sequence[Envelope[AuditRecorded]]) -> None:
    """Adds the records that are not there yet, in the order of their times. One transaction at a time appends: the
    lock is held until the caller commits."""
    if not received:
        return
    await db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(LOCK, 0))))
    ids = [event.id for event in received]
    known = set(await db.scalars(select(audit_records.c.event_id).where(audit_records.c.event_id.in_(ids))))
    last = (
        await db.execute(
            select(audit_records.c.position, audit_records.c.hash).order_by(audit_records.c.position.desc()).limit(1)
        )
    ).one_or_none()
    position, previous = (last.position, last.hash) if last else (0, BEGINNING)
    new = {event.id: event for event in received if event.id not in known}
    rows = []
    for event in sorted(new.values(), key=lambda each: (each.time, each.id)):
        record, position = record_of(event), position + 1
        hash = next_hash(previous, position, record)
        rows.append(_values(record) | {"position": position, "previous_hash": previous, "hash": hash})
        previous = hash
    if rows:
        await db.execute(_APPEND, rows)


async def verify(db: AsyncConnection) -> Verification:
    """Reads the whole chain, in the caller's transaction. Stops at the first record that does not hold."""
    result = Verification()
    while result.broken is None:
        following = select(audit_records, _ABOUT_ERASED.label("about_erased")).where(
            audit_records.c.position > result.records
        )
        rows = (await db.execute(following.order_by(audit_records.c.position).limit(CHUNK))).all()
        if not rows:
            break
        for row in rows:
            result = result.then(
                position=row.position,
                record=_record(row),
                previous_hash=row.previous_hash,
                hash=row.hash,
                erased=row.reason_erased and row.about_erased,
            )
            if result.broken is not None:
                break
    return result


def _values(record: AuditRecord) -> dict[str, Any]:
    values = {field.name: getattr(record, field.name) for field in fields(AuditRecord)}
    before_and_after = {
        name: None if values[name] is None else json.dumps(values[name]) for name in ("before", "after")
    }
    return values | before_and_after | {"refs": list(record.refs)}


def _record(row: Row[Any]) -> AuditRecord:
    values = {field.name: getattr(row, field.name) for field in fields(AuditRecord)}
    return AuditRecord(**values | {"refs": tuple(row.refs)})
