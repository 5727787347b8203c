"""Which instructor teaches a student. Pure: facts, rows and the time in; rows and events out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from uuid import NAMESPACE_URL, UUID, uuid5

from contracts.instructor_assignment import (
    Instructor,
    InstructorAssigned,
    InstructorEvent,
    InstructorReleased,
    InstructorUnavailable,
)
from contracts.people import Program
from ledger.facts import Facts
from ledger.policy import DEFAULT_POLICY, Policy
from ledger.standing import Standing
from ledger.verdict import SUPERSEDED, Verdict, verdicts

NOT_TAUGHT = "not_taught"

_ASSIGNMENTS = uuid5(NAMESPACE_URL, "urn:bursar:instructor-assignment")


def assignment_id(student_id: UUID, program_slug: str) -> UUID:
    """The id of a student's assignment in a program, derived so that every event finds the same row."""
    return uuid5(_ASSIGNMENTS, f"{student_id}/{program_slug}")


class DesiredStatus(StrEnum):
    ASSIGNED = "assigned"
    RELEASED = "released"


class Status(StrEnum):
    ASSIGNED = "assigned"
    WAITING = "waiting"
    RELEASED = "released"


@dataclass(frozen=True, kw_only=True)
class DesiredAssignment:
    """The columns of an assignment that follow the payment facts.

    `desired_status` is None, and there is no row yet, if the enrollment was never paid for or the item is not taught.
    """

    id: UUID
    student_id: UUID
    program_slug: str
    program_id: str
    program_name: str | None
    provider: str | None
    desired_status: DesiredStatus | None
    reason: str | None
    purchase_id: UUID | None

    @property
    def program(self) -> Program:
        return Program(slug=self.program_slug, id=self.program_id, name=self.program_name, provider=self.provider)


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A row of `ai_instructor_assignments`. `since`: when the status or the instructor last changed."""

    desired: DesiredAssignment
    status: Status
    instructor: Instructor | None
    since: datetime
    revision: int

    @property
    def id(self) -> UUID:
        return self.desired.id


@dataclass(frozen=True, kw_only=True)
class InstructorLoad:
    """An active instructor, and how many students they have."""

    instructor: Instructor
    capacity: int
    students: int


@dataclass(frozen=True, kw_only=True)
class Change:
    """The assignment becomes `after`; the events are published."""

    before: Assignment
    after: Assignment
    events: tuple[InstructorEvent, ...]


def wanted(facts: Facts, policy: Policy = DEFAULT_POLICY) -> Mapping[UUID, DesiredAssignment]:
    """What the facts ask for, for every student and program that they ever named."""
    found = (_desired(verdict) for verdict in verdicts(facts, policy).values())
    return {desired.id: desired for desired in found}


def becomes(before: DesiredAssignment | None, wanted: DesiredAssignment) -> DesiredAssignment | None:
    """The row after the facts; None: no row. A row that nothing asks for anymore is released."""
    if wanted.desired_status is not None:
        return wanted
    return None if before is None else replace(wanted, desired_status=DesiredStatus.RELEASED)


def changes_assignment(before: DesiredAssignment | None, after: DesiredAssignment) -> bool:
    """Whether an instructor is to be assigned or released. A new row starts out released."""
    return after.desired_status != (DesiredStatus.RELEASED if before is None else before.desired_status)


def _desired(verdict: Verdict) -> DesiredAssignment:
    """A paused enrollment keeps its instructor; one that was paid for and is not active gives it up."""
    program = verdict.program
    desired, reason = None, verdict.reason
    if not program.taught:
        # an event without the kind may have assigned an instructor before
        reason = NOT_TAUGHT
        desired = DesiredStatus.RELEASED if verdict.opened and verdict.kind_was_unknown else None
    elif verdict.standing in (Standing.ACTIVE, Standing.PAUSED):
        desired, reason = DesiredStatus.ASSIGNED, None
    elif verdict.opened or verdict.reason == SUPERSEDED:
        desired = DesiredStatus.RELEASED
    return DesiredAssignment(
        id=assignment_id(verdict.student_id, program.slug),
        student_id=verdict.student_id,
        program_slug=program.slug,
        program_id=program.id,
        program_name=program.name,
        provider=program.provider,
        desired_status=desired,
        reason=reason,
        purchase_id=verdict.purchase.id,
    )


def follow(*, assignments: Iterable[Assignment], loads: Sequence[InstructorLoad], at: datetime) -> list[Change]:
    """Brings assignments of one program in line with their desired status. Returns the changes.

    Students are released first, so that others get their instructors: those who have waited, then those who are new,
    in the order given. An assigned student keeps the instructor.
    """
    changes = []
    for assignment in sorted(assignments, key=_turn):
        change = _change(assignment, _followed(assignment, loads), at=at)
        loads = _counted(loads, change)
        if change.after != assignment:
            changes.append(change)
    return changes


def _turn(assignment: Assignment) -> int:
    if assignment.desired.desired_status is DesiredStatus.RELEASED:
        return 0
    return 1 if assignment.status is Status.WAITING else 2


def _followed(assignment: Assignment, loads: Sequence[InstructorLoad]) -> Assignment:
    if assignment.desired.desired_status is DesiredStatus.RELEASED:
        return replace(assignment, status=Status.RELEASED, instructor=None)
    return assignment if assignment.status is Status.ASSIGNED else _assigned(assignment, least_loaded(loads))


def reassign(
    *, students: Iterable[Assignment], loads: Sequence[InstructorLoad], reason: str, at: datetime
) -> list[Change]:
    """Their instructor leaves: each student gets another instructor, or waits."""
    changes = []
    for assignment in students:
        change = _change(assignment, _assigned(assignment, least_loaded(loads)), at=at, reason=reason)
        loads = _counted(loads, change)
        changes.append(change)
    return changes


def least_loaded(loads: Iterable[InstructorLoad]) -> InstructorLoad | None:
    """The instructor with the smallest share of their capacity in use; None if all are full. Ties are broken by id."""
    available = [load for load in loads if load.students < load.capacity]
    return min(
        available,
        key=lambda load: (Fraction(load.students, load.capacity), load.students, load.instructor.id.hex),
        default=None,
    )


def _counted(loads: Sequence[InstructorLoad], change: Change) -> list[InstructorLoad]:
    """The loads after the change."""
    old, new = ((each.instructor.id if each.instructor else None) for each in (change.before, change.after))
    if old == new:
        return list(loads)
    return [
        replace(load, students=load.students + (load.instructor.id == new) - (load.instructor.id == old))
        for load in loads
    ]


def _assigned(assignment: Assignment, load: InstructorLoad | None) -> Assignment:
    if load is None:
        return replace(assignment, status=Status.WAITING, instructor=None)
    return replace(assignment, status=Status.ASSIGNED, instructor=load.instructor)


def _change(before: Assignment, after: Assignment, *, at: datetime, reason: str | None = None) -> Change:
    """`reason`: why the instructor was released, if not for the reason of the desired status."""
    desired, old, new = after.desired, before.instructor, after.instructor
    student_id, program, purchase_id = desired.student_id, desired.program, desired.purchase_id
    revision = before.revision + 1
    events: list[InstructorEvent] = []
    if old is not None and (new is None or new.id != old.id):
        events.append(
            InstructorReleased(
                student_id=student_id,
                program=program,
                purchase_id=purchase_id,
                revision=revision,
                assignment_id=after.id,
                instructor=old,
                reason=reason or desired.reason,
            )
        )
    if new is not None and (old is None or new.id != old.id):
        events.append(
            InstructorAssigned(
                student_id=student_id,
                program=program,
                purchase_id=purchase_id,
                revision=revision,
                assignment_id=after.id,
                instructor=new,
            )
        )
    if after.status is Status.WAITING and before.status is not Status.WAITING:
        events.append(
            InstructorUnavailable(student_id=student_id, program=program, purchase_id=purchase_id, revision=revision)
        )
    if events or before.status is not after.status:
        after = replace(after, since=at, revision=revision if events else before.revision)
    return Change(before=before, after=after, events=tuple(events))
