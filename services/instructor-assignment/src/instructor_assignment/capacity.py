"""Who gets an instructor when students come and go, and when an instructor's capacity changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

from instructor_assignment import domain, repository
from instructor_assignment.domain import Assignment, DesiredStatus, InstructorLoad, Status
from kit.db.unit_of_work import UnitOfWork
from kit.runtime.trace import Cause


class InsufficientCapacity(Exception):
    """The other instructors cannot take all students of this one."""


async def follow(uow: UnitOfWork, assignments: Sequence[Assignment], causes: Mapping[UUID, Cause | None]) -> None:
    """Brings the assignments in line with their desired status, and assigns to waiting students what that releases.

    `causes`: of the assignments, by their ids. The caller holds the locks of their programs. Each statement is executed
    once for all programs.
    """
    by_program: dict[str, list[Assignment]] = {}
    released = Counter[str]()
    for assignment in assignments:
        slug = assignment.desired.program_slug
        by_program.setdefault(slug, []).append(assignment)
        if assignment.desired.desired_status is DesiredStatus.RELEASED:
            released[slug] += 1
    loads = await repository.loads(uow.db, by_program)
    limits = {slug: count + _available(loads[slug]) for slug, count in released.items() if loads[slug]}
    waiting = await repository.waiting(uow.db, limits)
    changes = [
        change
        for slug, its in by_program.items()
        for change in domain.follow(assignments=[*its, *waiting.get(slug, ())], loads=loads[slug], at=uow.now)
    ]
    await repository.apply(uow, changes, causes)


async def assign_waiting(uow: UnitOfWork, program_slug: str) -> None:
    """Assigns instructors to waiting students while there is capacity. The caller holds the program's lock."""
    loads = (await repository.loads(uow.db, [program_slug]))[program_slug]
    waiting = (await repository.waiting(uow.db, {program_slug: _available(loads)}))[program_slug]
    await repository.apply(uow, domain.follow(assignments=waiting, loads=loads, at=uow.now))


def _available(loads: Sequence[InstructorLoad]) -> int:
    return sum(max(load.capacity - load.students, 0) for load in loads)


async def reassign_students(
    uow: UnitOfWork, instructor_id: UUID, program_slug: str, *, reason: str, all_or_none: bool = False
) -> None:
    """Gives the students of an instructor, who is inactive by now, to others, or lets them wait.

    The caller holds the program's lock. Raises InsufficientCapacity if `all_or_none` and a student would have to wait.
    """
    students = await repository.students_of(uow.db, instructor_id)
    loads = (await repository.loads(uow.db, [program_slug]))[program_slug]
    changes = domain.reassign(students=students, loads=loads, reason=reason, at=uow.now)
    if all_or_none and any(change.after.status is Status.WAITING for change in changes):
        raise InsufficientCapacity
    await repository.apply(uow, changes)
