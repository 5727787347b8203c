"""Whether the invariant holds, over all students: their events are read in batches, and nothing is locked."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Row, Text, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.checkout import ReceiptIssued
from contracts.enrollment import EnrollmentEvent
from contracts.envelope import Event
from contracts.instructor_assignment import InstructorEvent
from contracts.milady_integration import MiladyEvent
from contracts.notifications import NotificationEvent
from contracts.payments import PaymentEvent
from contracts.reconciliation import ReconciliationCompleted, ReconciliationDifference
from contracts.registry import EVENT_TYPES
from ledger.policy import Policy
from reporting import domain
from reporting.event_log import MOST_ROUNDS
from reporting.invariant import (
    Break,
    Compared,
    Deadlines,
    ReceivedEvent,
    breaks,
    description,
    difference_key,
    open_differences,
)
from reporting.tables import events

EVENTS = 2_000
"""The students of so many events are read together."""
FIRST = UUID(int=0)
LAST = UUID(int=2**128 - 1)
_READ = (
    PaymentEvent,
    EnrollmentEvent,
    InstructorEvent,
    MiladyEvent,
    NotificationEvent,
    ReceiptIssued,
    ReconciliationDifference,
)
_TYPES = [name for name, event in EVENT_TYPES.items() if issubclass(event, _READ)]
_DROPPED = {"pdf": ""}
"""Required fields that are not stored (see `contracts.personal_data.removed`)."""


@dataclass
class InvariantReport:
    """`students`: how many were read. `differences`: the keys of those from Stripe that belong to one of them."""

    students: int = 0
    breaks: list[Break] = field(default_factory=list)
    differences: set[tuple[str, str, str]] = field(default_factory=set)

    @property
    def holds(self) -> bool:
        return not self.breaks


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What decides whether a part holds. Can be handed to another process."""

    now: datetime
    deadlines: Deadlines
    policy: Policy


@dataclass(frozen=True)
class Students:
    """Those whose ids are after `after`, up to and including `last`."""

    after: UUID = FIRST
    last: UUID = LAST


EVERYBODY = Students()


def shares(count: int) -> list[Students]:
    """All students in so many parts of the same size."""
    bounds = [UUID(int=(LAST.int * n) // count) for n in range(count + 1)]
    return [Students(after, last) for after, last in itertools.pairwise(bounds)]


async def verify_student(db: AsyncConnection, student_id: UUID, rules: Rules) -> InvariantReport:
    await db.execute(_BY_INDEX)
    report = InvariantReport()
    await _add(report, db, [student_id], rules, await compared_periods(db))
    return report


async def verify(db: AsyncConnection, rules: Rules, students: Students = EVERYBODY) -> InvariantReport:
    """Reads the events of some students after the other."""
    await db.execute(_BY_INDEX)
    compared = await compared_periods(db)
    report = InvariantReport()
    async for some in _students(db, students):
        await _add(report, db, some, rules, compared)
    return report


async def _add(
    report: InvariantReport, db: AsyncConnection, students: Sequence[UUID], rules: Rules, compared: Compared
) -> None:
    of_students = await _events(db, students)
    report.students += len(students)
    for student in students:
        events = of_students[student]
        report.breaks += breaks(
            events, now=rules.now, deadlines=rules.deadlines, policy=rules.policy, compared=compared
        )
        for each in events:
            if isinstance(each.data, ReconciliationDifference):
                report.differences.add(difference_key(each.data))


async def compared_periods(db: AsyncConnection) -> Compared:
    """What webhook-gateway has compared with Stripe, overlapping periods together."""
    merged: list[tuple[datetime, datetime]] = []
    for each in sorted(await _reconciled(db, ReconciliationCompleted), key=lambda each: each.data.since):
        since, through = each.data.since, each.data.through
        if merged and since <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], through)
        else:
            merged.append((since, through))
    return Compared(tuple(merged))


async def nobodys_differences(db: AsyncConnection, known: Collection[tuple[str, str, str]]) -> list[Break]:
    """Where Stripe has what belongs to no student."""
    return [
        Break(
            student_id=None,
            purchase_id=difference.purchase_id,
            program_slug=None,
            part="stripe",
            cause=description(difference),
            since=at,
        )
        for difference, at in open_differences(await _reconciled(db, ReconciliationDifference))
        if difference_key(difference) not in known
    ]


async def _reconciled(db: AsyncConnection, kind: type[Event]) -> list[Any]:
    """Events of webhook-gateway's comparison with Stripe."""
    rows = await db.execute(select(*_COLUMNS).where(events.c.type.like("reconciliation.%")))
    found = (_event(row) for row in rows if row.type in EVENT_TYPES and issubclass(EVENT_TYPES[row.type], kind))
    return [each for each in found if each is not None]


async def _students(db: AsyncConnection, students: Students) -> AsyncIterator[Sequence[UUID]]:
    """In the order of their ids. Without DISTINCT, which PostgreSQL may answer by sorting all that are left."""
    after = students.after
    id = events.c.student_id
    while True:
        wanted = select(id).where(id > after, id <= students.last).order_by(id).limit(EVENTS)
        some = list(dict.fromkeys(await db.scalars(wanted)))
        if not some:
            return
        yield some
        after = some[-1]


async def _events(db: AsyncConnection, students: Sequence[UUID]) -> dict[UUID, list[ReceivedEvent]]:
    """All events that name one of the students, one of their purchases, or one of their payments."""
    found: dict[UUID, list[ReceivedEvent]] = defaultdict(list)
    purchases: dict[UUID, UUID] = {}
    refs: dict[str, UUID] = {}

    def add(row: Row[Any], student: UUID) -> None:
        if row.purchase_id is not None:
            purchases.setdefault(row.purchase_id, student)
        for ref in row.refs:
            if not ref.startswith(domain.NOT_OF_ONE_PAYMENT):
                refs.setdefault(ref, student)
        if (event := _event(row)) is not None:
            found[student].append(event)

    for row in await _rows(db, events.c.student_id.in_(students)):
        add(row, row.student_id)
    nameless = events.c.student_id.is_(None)
    if purchases:
        for row in await _rows(db, nameless & events.c.purchase_id.in_(purchases)):
            add(row, purchases[row.purchase_id])
    seen: set[str] = set()
    for _ in range(MOST_ROUNDS):
        if not refs or not (added := refs.keys() - seen):
            break
        seen |= added
        linked = nameless & events.c.purchase_id.is_(None) & events.c.refs.overlap(sorted(added))
        for row in await _rows(db, linked):
            student = next(refs[ref] for ref in row.refs if ref in refs)
            if all(each.id != row.event_id for each in found[student]):
                add(row, student)
    return found


_BY_INDEX = select(func.set_config("enable_seqscan", "off", True), func.set_config("enable_sort", "off", True))
"""PostgreSQL does not know how few events an overlap of references selects, and would read all of them each time."""
_COLUMNS = (
    *(events.c.event_id, events.c.type, events.c.received_at, events.c.purchase_id, events.c.student_id, events.c.refs),
    cast(events.c.data, Text).label("body"),
)
"""The body as text: pydantic reads it in one step."""


async def _rows(db: AsyncConnection, selected: ColumnElement[bool]) -> Sequence[Row[Any]]:
    return (await db.execute(select(*_COLUMNS).where(selected, events.c.type.in_(_TYPES)))).all()


def _event(row: Row[Any]) -> ReceivedEvent | None:
    """None if this version cannot read it."""
    model: type[Event] = EVENT_TYPES[row.type]
    try:
        if issubclass(model, ReceiptIssued):
            data: Event = model.model_validate({**_DROPPED, **json.loads(row.body)})
        else:
            data = model.model_validate_json(row.body)
    except ValidationError:
        return None
    return ReceivedEvent(id=row.event_id, received_at=row.received_at, data=data)
