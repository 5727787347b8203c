"""What changes about instructors, and so about others than the student who has just paid."""

from __future__ import annotations

from uuid import UUID

from instructor_assignment import db, domain
from instructor_assignment.domain import Status
from kit.db.unit_of_work import UnitOfWork


class NoRoomElsewhere(Exception):
    """Some students of this instructor would have nobody."""


async def fill(uow: UnitOfWork, program_slug: str) -> None:
    """Serves those who wait, as far as there is room. Under the program's lock."""
    teachers = await db.teachers(uow.db, program_slug)
    room = sum(max(teacher.capacity - teacher.students, 0) for teacher in teachers)
    waiting = await db.waiting(uow.db, program_slug, most=room) if room else ()
    for change in domain.serve(waiting=waiting, teachers=teachers, at=uow.now):
        await db.apply(await db.on_behalf_of(uow, change.after.id), change)


async def empty(
    uow: UnitOfWork, instructor_id: UUID, program_slug: str, *, reason: str, all_or_none: bool = False
) -> None:
    """The instructor, inactive by now, gives up their students: to others, or else they wait. Under the program's lock.

    Raises NoRoomElsewhere with `all_or_none` when somebody would have to wait.
    """
    students = await db.students_of(uow.db, instructor_id)
    teachers = await db.teachers(uow.db, program_slug)
    changes = domain.leave(students=students, teachers=teachers, reason=reason, at=uow.now)
    if all_or_none and any(change.after.status is Status.WAITING for change in changes):
        raise NoRoomElsewhere
    for change in changes:
        await db.apply(await db.on_behalf_of(uow, change.after.id), change)
