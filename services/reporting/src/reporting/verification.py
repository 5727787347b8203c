"""Whether the invariant holds, over all students: their events are read in batches, and nothing is locked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.checkout import ReceiptIssued
from contracts.enrollment import EnrollmentEvent
from contracts.envelope import Event
from contracts.instructor_assignment import InstructorEvent
from contracts.milady_integration import MiladyEvent
from contracts.notifications import NotificationEvent
from contracts.payments import PaymentEvent
from contracts.registry import EVENT_TYPES
from ledger.policy import Policy
from reporting import domain
from reporting.event_log import MOST_ROUNDS
from reporting.invariant import Break, Deadlines, ReceivedEvent, breaks
from reporting.tables import events

STUDENTS = 200
"""Whose events are read together."""
FIRST = UUID(int=0)
_READ = (PaymentEvent, EnrollmentEvent, InstructorEvent, MiladyEvent, NotificationEvent, ReceiptIssued)
_TYPES = [name for name, event in EVENT_TYPES.items() if issubclass(event, _READ)]
_DROPPED = {"pdf": ""}
"""Required fields that `domain.without_personal_data` has removed."""


@dataclass
class InvariantReport:
    """`students`: how many were read."""

    students: int = 0
    breaks: list[Break] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.breaks


async def verify(
    db: AsyncConnection, *, now: datetime, deadlines: Deadlines, policy: Policy, student_id: UUID | None = None
) -> InvariantReport:
    """`student_id`: only of this student."""
    report = InvariantReport()
    async for students in _students(db, student_id):
        of_students = await _events(db, students)
        report.students += len(students)
        for student in students:
            report.breaks += breaks(of_students[student], now=now, deadlines=deadlines, policy=policy)
    return report


async def _students(db: AsyncConnection, only: UUID | None) -> AsyncIterator[Sequence[UUID]]:
    if only is not None:
        yield [only]
        return
    after = FIRST
    while True:
        wanted = select(events.c.student_id).where(events.c.student_id > after).distinct()
        students = list(await db.scalars(wanted.order_by(events.c.student_id).limit(STUDENTS)))
        if not students:
            return
        yield students
        after = students[-1]


async def _events(db: AsyncConnection, students: Sequence[UUID]) -> dict[UUID, list[ReceivedEvent]]:
    """All events that name one of the students, one of their purchases, or one of their payments."""
    found: dict[UUID, list[ReceivedEvent]] = defaultdict(list)
    purchases: dict[UUID, UUID] = {}
    refs: dict[str, UUID] = {}

    def add(row: Row[Any], student: UUID) -> None:
        if row.purchase_id is not None:
            purchases.setdefault(row.purchase_id, student)
        for ref in domain.linking(frozenset(row.refs)):
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


async def _rows(db: AsyncConnection, selected: ColumnElement[bool]) -> Sequence[Row[Any]]:
    return (await db.execute(select(events).where(selected, events.c.type.in_(_TYPES)))).all()


def _event(row: Row[Any]) -> ReceivedEvent | None:
    """None if this version cannot read it."""
    model: type[Event] = EVENT_TYPES[row.type]
    try:
        data = model.model_validate({**_DROPPED, **row.data})
    except ValidationError:
        return None
    return ReceivedEvent(id=row.event_id, received_at=row.received_at, data=data)
