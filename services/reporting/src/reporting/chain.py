"""The chain of audit records: each hash covers a record and the hash before it, so that no record can be changed,
removed from the middle or put in between without breaking all that follow. Pure.

Removing records at the end leaves a valid, shorter chain. So keep the last position and hash elsewhere, now and then
(`python -m reporting verify-audit` prints them).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from contracts.audit import AuditRecorded
from contracts.envelope import Envelope

BEGINNING = bytes(32)
"""The hash before the first record."""
_RECORDS = uuid5(NAMESPACE_URL, "urn:bursar:audit-record")


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """One administrative act. `created_at`: when it was done."""

    id: UUID
    event_id: str
    service: str
    created_at: datetime
    actor_id: str
    actor_role: str
    action: str
    object_type: str
    object_id: str
    purchase_id: UUID | None
    student_id: UUID | None
    refs: tuple[str, ...]
    before: Mapping[str, Any] | None  # Any: JSON
    after: Mapping[str, Any] | None
    reason: str | None
    address: str | None
    trace_id: str | None


def record_of(event: Envelope[AuditRecorded]) -> AuditRecord:
    data, act = event.data, event.data.act
    return AuditRecord(
        id=uuid5(_RECORDS, event.id),
        event_id=event.id,
        service=event.source,
        created_at=event.time,
        actor_id=data.actor.id,
        actor_role=data.actor.role,
        action=act.action,
        object_type=act.object_type,
        object_id=act.object_id,
        purchase_id=act.purchase_id,
        student_id=act.student_id,
        refs=act.references,
        before=act.before,
        after=act.after,
        reason=act.reason,
        address=data.address,
        trace_id=data.trace_id,
    )


def next_hash(previous: bytes, position: int, record: AuditRecord) -> bytes:
    """SHA-256 of the hash before it, and the record as canonical JSON."""
    content = {
        "position": position,
        **asdict(record),
        "id": str(record.id),
        "created_at": record.created_at.astimezone(UTC).isoformat(),
        "purchase_id": str(record.purchase_id) if record.purchase_id else None,
        "student_id": str(record.student_id) if record.student_id else None,
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(previous + canonical.encode()).digest()


@dataclass(frozen=True, kw_only=True)
class Verification:
    """records: how many hold, from the first one
    erased:  those of them whose reason was erased
    broken:  the position of the first one that does not hold; None if all do
    hash:    of the last one that holds
    """

    records: int = 0
    erased: int = 0
    broken: int | None = None
    reason: str | None = None
    hash: bytes = BEGINNING

    def then(
        self, *, position: int, record: AuditRecord, previous_hash: bytes, hash: bytes, erased: bool = False
    ) -> Verification:
        """With one more row, in the order of positions. `erased`: its reason was erased, with the person whom it is
        about; then only its place in the chain can be verified."""
        expected = self.records + 1
        if position != expected:
            return self._broken(expected, f"record {expected} is missing")
        if previous_hash != self.hash:
            return self._broken(position, "its previous hash is not that of the record before it")
        if erased and record.reason is not None:
            return self._broken(position, "it has a reason, although that was erased")
        if not erased and hash != next_hash(previous_hash, position, record):
            return self._broken(position, "its content does not match its hash")
        return Verification(records=position, erased=self.erased + erased, hash=hash)

    def _broken(self, position: int, reason: str) -> Verification:
        return Verification(records=self.records, erased=self.erased, broken=position, reason=reason, hash=self.hash)
