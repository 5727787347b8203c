"""Who gets which instructor. Pure: plain data and the time in, decisions out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
from ledger.enrollments_tmp import Enrollment
from ledger.policy import Policy
from ledger.purchase import Standing

_ASSIGNMENTS = uuid5(NAMESPACE_URL, "urn:bursar:instructor-assignment")


def assignment_id(student_id: UUID, program_slug: str) -> UUID:
    """An assignment has one id, whoever hears of it first."""
    return uuid5(_ASSIGNMENTS, f"{student_id}/{program_slug}")


class Status(StrEnum):
    ASSIGNED = "assigned"
    WAITING = "waiting"
    RELEASED = "released"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the facts want for an enrollment: to be taught, or (having been open once) not any more."""

    taught: bool
    reason: str | None
    purchase_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A student's instructor in a program. `since` is when the status (or the instructor) last changed."""

    id: UUID
    student_id: UUID
    program: Program
    status: Status
    instructor: Instructor | None
    reason: str | None
    purchase_id: UUID | None
    since: datetime
    revision: int


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """An active instructor, and how many students they have."""

    instructor: Instructor
    capacity: int
    students: int


@dataclass(frozen=True, kw_only=True)
class Change:
    """The assignment becomes `after`; `says` tells the others."""

    before: Assignment | None
    after: Assignment
    publishes: tuple[InstructorEvent, ...]

    @property
    def frees_a_place(self) -> bool:
        return self.before is not None and self.before.instructor is not None and self.after.instructor is None


def wish(*, enrollment: Enrollment, policy: Policy) -> Wish | None:
    """None while the enrollment was never paid for, and for what is not taught. A paused enrollment keeps its instructor."""
    if not enrollment.program.taught:
        return None
    purchase, standing, reason = enrollment.decisive(policy)
    if standing in (Standing.ACTIVE, Standing.PAUSED):
        return Wish(taught=True, reason=None, purchase_id=purchase.id)
    if enrollment.opened:
        return Wish(taught=False, reason=reason, purchase_id=purchase.id)
    return None


def fulfilled(*, wish: Wish, known: Assignment | None) -> bool:
    """Whether nothing is left to do, whatever happens to the instructors meanwhile."""
    if known is None:
        return False
    return (wish.taught, wish.reason, wish.purchase_id) == (
        known.status is not Status.RELEASED,
        known.reason,
        known.purchase_id,
    )


def settle(
    *, enrollment: Enrollment, wish: Wish, known: Assignment | None, teachers: Sequence[Teacher], at: datetime
) -> Change:
    """What the wish makes of the assignment. Who has an instructor keeps them; who waits goes on waiting."""
    draft = Assignment(
        id=assignment_id(enrollment.student_id, enrollment.program.slug),
        student_id=enrollment.student_id,
        program=enrollment.program,
        status=Status.RELEASED,
        instructor=None,
        reason=wish.reason,
        purchase_id=wish.purchase_id,
        since=known.since if known else at,
        revision=known.revision if known else 0,
    )
    if not wish.taught:
        return _change(known, draft, at=at)
    if known is not None and known.status is not Status.RELEASED:
        kept = replace(draft, status=known.status, instructor=known.instructor)
        return _change(known, kept, at=at)
    return _change(known, _taught_by(draft, least_loaded(teachers)), at=at)


def serve(*, waiting: Iterable[Assignment], teachers: Sequence[Teacher], at: datetime) -> list[Change]:
    """Places for those who wait, in the order given, as far as there are any."""
    changes = []
    for assignment in waiting:
        if (teacher := least_loaded(teachers)) is None:
            break
        teachers = _with_one_more(teachers, teacher)
        changes.append(_change(assignment, _taught_by(assignment, teacher), at=at))
    return changes


def leave(*, students: Iterable[Assignment], teachers: Sequence[Teacher], reason: str, at: datetime) -> list[Change]:
    """Their instructor goes: each gets one of the others, or waits."""
    changes = []
    for assignment in students:
        if (teacher := least_loaded(teachers)) is not None:
            teachers = _with_one_more(teachers, teacher)
        changes.append(_change(assignment, _taught_by(assignment, teacher), at=at, reason=reason))
    return changes


def least_loaded(teachers: Iterable[Teacher]) -> Teacher | None:
    """The one with the smallest part of their capacity taken; None when nobody has room. Ties always fall alike."""
    free = [teacher for teacher in teachers if teacher.students < teacher.capacity]
    return min(
        free,
        key=lambda t: (Fraction(t.students, t.capacity), t.students, t.instructor.id.hex),
        default=None,
    )


def _with_one_more(teachers: Sequence[Teacher], chosen: Teacher) -> list[Teacher]:
    return [replace(each, students=each.students + 1) if each is chosen else each for each in teachers]


def _taught_by(assignment: Assignment, teacher: Teacher | None) -> Assignment:
    if teacher is None:
        return replace(assignment, status=Status.WAITING, instructor=None)
    return replace(assignment, status=Status.ASSIGNED, instructor=teacher.instructor)


def _change(before: Assignment | None, after: Assignment, *, at: datetime, reason: str | None = None) -> Change:
    """`reason`: why the instructor went, where the assignment does not say."""
    old = before.instructor if before else None
    new = after.instructor
    told = {"student_id": after.student_id, "program": after.program, "purchase_id": after.purchase_id}
    publishes: list[InstructorEvent] = []
    if old is not None and (new is None or new.id != old.id):
        publishes.append(
            InstructorReleased(assignment_id=after.id, instructor=old, reason=reason or after.reason, **told)
        )
    if new is not None and (old is None or new.id != old.id):
        publishes.append(InstructorAssigned(assignment_id=after.id, instructor=new, **told))
    if after.status is Status.WAITING and (before is None or before.status is not Status.WAITING):
        publishes.append(InstructorUnavailable(**told))
    if publishes:
        after = replace(after, revision=after.revision + 1)
    if publishes or before is None or before.status is not after.status:
        after = replace(after, since=at)
    return Change(before=before, after=after, publishes=tuple(publishes))
