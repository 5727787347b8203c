"""What a change of instructors' capacity means for students other than the one who has just paid."""

from __future__ import annotations

from uuid import UUID

from instructor_assignment import domain, repository
from instructor_assignment.domain import Status
from kit.db.unit_of_work import UnitOfWork


class InsufficientCapacity(Exception):
    """The other instructors cannot take all students of this one."""


async def assign_waiting(uow: UnitOfWork, program_slug: str) -> None:
    """Assigns instructors to waiting students while there is capacity. The caller holds the program's lock."""
    loads = await repository.loads(uow.db, program_slug)
    available = sum(max(load.capacity - load.students, 0) for load in loads)
    waiting = await repository.waiting(uow.db, program_slug, limit=available) if available else ()
    for change in domain.assign_waiting(waiting=waiting, loads=loads, at=uow.now):
        await repository.apply(await repository.with_cause_of(uow, change.after.id), change)


async def reassign_students(
    uow: UnitOfWork, instructor_id: UUID, program_slug: str, *, reason: str, all_or_none: bool = False
) -> None:
    """Gives the students of an instructor, who is inactive by now, to others, or lets them wait.

    The caller holds the program's lock. Raises InsufficientCapacity if `all_or_none` and a student would have to wait.
    """
    students = await repository.students_of(uow.db, instructor_id)
    loads = await repository.loads(uow.db, program_slug)
    changes = domain.reassign(students=students, loads=loads, reason=reason, at=uow.now)
    if all_or_none and any(change.after.status is Status.WAITING for change in changes):
        raise InsufficientCapacity
    for change in changes:
        await repository.apply(await repository.with_cause_of(uow, change.after.id), change)
