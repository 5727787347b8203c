"""Which case manager a student has. Each change is an event and an audit record, in its transaction."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.problems import NOT_IN_CASELOAD
from checkout.purchases.repository import lock_student
from contracts.audit import Act
from contracts.checkout import StudentCaseManagerChanged
from kit.db import caseload as rows
from kit.db.caseload import caseload
from kit.db.unit_of_work import UnitOfWork
from kit.http import audit


@dataclass(frozen=True, kw_only=True)
class CaseloadStudent:
    case_manager_id: UUID | None
    revision: int


async def read(db: AsyncConnection, student_id: UUID) -> CaseloadStudent | None:
    """None if nobody has ever been assigned; for a case manager also if it is another one."""
    row = (await db.execute(select(caseload).where(caseload.c.student_id == student_id))).one_or_none()
    return None if row is None else CaseloadStudent(case_manager_id=row.case_manager_id, revision=row.revision)


async def require(db: AsyncConnection, case_manager_id: UUID, student_id: UUID) -> None:
    """Raises Problem 403 unless the student is in the caseload."""
    row = await read(db, student_id)
    if row is None or row.case_manager_id != case_manager_id:
        raise NOT_IN_CASELOAD()


async def admit(uow: UnitOfWork, case_manager_id: UUID, student_id: UUID) -> None:
    """Adds a student who has never had a case manager to the caseload, because of a sponsored purchase.

    Raises Problem 403 for a student whom another one has, or whom an admin has unassigned.
    """
    if await read(uow.db, student_id) is None:
        new = insert(caseload).values(
            student_id=student_id, case_manager_id=case_manager_id, revision=1, updated_at=uow.now
        )
        if (await uow.db.execute(new.on_conflict_do_nothing())).rowcount:
            await _publish(uow, student_id, case_manager_id, 1)
            await _record(uow, student_id, None, case_manager_id, reason="a sponsored purchase")
            return
    await require(uow.db, case_manager_id, student_id)


async def assign(uow: UnitOfWork, student_id: UUID, case_manager_id: UUID | None, *, reason: str) -> None:
    """None: to nobody. The same case manager again changes nothing."""
    await lock_student(uow.db, student_id)
    row = await read(uow.db, student_id)
    before = row.case_manager_id if row is not None else None
    if before == case_manager_id:
        return
    revision = row.revision + 1 if row is not None else 1
    await rows.write(uow.db, student_id, case_manager_id, revision=revision, at=uow.now)
    await _publish(uow, student_id, case_manager_id, revision)
    await _record(uow, student_id, before, case_manager_id, reason=reason)


async def publish_new(uow: UnitOfWork) -> int:
    """Publishes what a migration has added. Returns how many students."""
    added = update(caseload).where(caseload.c.revision == 0).values(revision=1)
    found = (await uow.db.execute(added.returning(caseload.c.student_id, caseload.c.case_manager_id))).all()
    for row in found:
        await _publish(uow, row.student_id, row.case_manager_id, 1)
    return len(found)


async def _publish(uow: UnitOfWork, student_id: UUID, case_manager_id: UUID | None, revision: int) -> None:
    event = StudentCaseManagerChanged(student_id=student_id, case_manager_id=case_manager_id, revision=revision)
    await uow.publish(event, id=f"{student_id}/{revision}/{event.type}", subject=str(student_id))


async def _record(uow: UnitOfWork, student_id: UUID, before: UUID | None, after: UUID | None, *, reason: str) -> None:
    act = Act.of(
        "case_manager.unassigned" if after is None else "case_manager.assigned",
        "student",
        student_id,
        student_id=student_id,
        before={"case_manager_id": before},
        after={"case_manager_id": after},
        reason=reason,
    )
    await audit.record(uow, act)
