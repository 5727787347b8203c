"""The chain of audit records, as pure functions: whatever is changed, the first record that does not hold is found."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from reporting.chain import BEGINNING, AuditRecord, Verification, next_hash

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
records = st.builds(
    AuditRecord,
    id=st.uuids(),
    event_id=st.text(min_size=1, max_size=10),
    service=st.sampled_from(["checkout", "enrollment"]),
    created_at=st.datetimes(min_value=datetime(2020, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    actor_id=st.text(max_size=5),
    actor_role=st.just("admin"),
    action=st.just("price.changed"),
    object_type=st.just("item"),
    object_id=st.text(max_size=5),
    purchase_id=st.none() | st.uuids(),
    student_id=st.none() | st.uuids(),
    refs=st.lists(st.text(max_size=5), max_size=2).map(tuple),
    before=st.none() | st.dictionaries(st.text(max_size=5), values, max_size=2),
    after=st.none() | st.dictionaries(st.text(max_size=5), values, max_size=2),
    reason=st.none() | st.text(max_size=5),
    address=st.none(),
    trace_id=st.none(),
)
Row = tuple[int, AuditRecord, bytes, bytes]


def chained(of: list[AuditRecord]) -> list[Row]:
    rows, previous = [], BEGINNING
    for position, record in enumerate(of, 1):
        hash = next_hash(previous, position, record)
        rows.append((position, record, previous, hash))
        previous = hash
    return rows


def verified(rows: list[Row]) -> Verification:
    result = Verification()
    for position, record, previous, hash in rows:
        result = result.then(position=position, record=record, previous_hash=previous, hash=hash)
        if result.broken is not None:
            break
    return result


def stored(row: Row) -> Row:
    """As it comes back from the database: JSON as text, and times in another zone."""
    position, record, previous, hash = row
    before, after = (json.loads(json.dumps(value)) for value in (record.before, record.after))
    zone = record.created_at.astimezone(tz=None)
    return position, replace(record, before=before, after=after, created_at=zone), previous, hash


@given(st.lists(records, max_size=5))
def test_what_was_appended_holds(of: list[AuditRecord]) -> None:
    result = verified([stored(row) for row in chained(of)])
    assert (result.records, result.broken) == (len(of), None)


@given(st.lists(records, min_size=1, max_size=5), st.data())
def test_a_removed_or_exchanged_record_is_found(of: list[AuditRecord], data: st.DataObject) -> None:
    rows = chained(of)
    at = data.draw(st.integers(0, len(rows) - 1))
    if at < len(rows) - 1:
        assert verified(rows[:at] + rows[at + 1 :]).broken == at + 1
    position, record, previous, hash = rows[at]
    rows[at] = (position, replace(record, id=uuid4()), previous, hash)
    assert verified(rows).broken == position


def test_every_field_is_covered() -> None:
    record = AuditRecord(
        id=UUID(int=1),
        event_id="e",
        service="s",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        actor_id="a",
        actor_role="r",
        action="x.y",
        object_type="t",
        object_id="o",
        purchase_id=None,
        student_id=None,
        refs=(),
        before=None,
        after=None,
        reason=None,
        address=None,
        trace_id=None,
    )
    other: dict[str, Any] = {
        "id": UUID(int=2),
        "created_at": record.created_at + timedelta(microseconds=1),
        "purchase_id": UUID(int=3),
        "student_id": UUID(int=3),
        "refs": ("pi_1",),
        "before": {},
        "after": {},
    }
    hashes = {next_hash(BEGINNING, 1, record), next_hash(BEGINNING, 2, record), next_hash(bytes(31) + b"1", 1, record)}
    for field in fields(AuditRecord):
        hashes.add(next_hash(BEGINNING, 1, replace(record, **{field.name: other.get(field.name, "other")})))
    assert len(hashes) == 3 + len(fields(AuditRecord))
