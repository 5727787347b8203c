"""Reads enrollments, and completes them. The projection writes everything else."""

from __future__ import annotations

from dataclasses import fields
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from enrollment import domain
from enrollment.domain import Enrollment
from enrollment.tables import enrollments
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.projection import Consequences, Publication

_COLUMNS = [enrollments.c[field.name] for field in fields(Enrollment)]


async def read(db: AsyncConnection, enrollment_id: UUID) -> Enrollment | None:
    """None also when row-level security hides it from the caller."""
    row = (await db.execute(select(*_COLUMNS).where(enrollments.c.id == enrollment_id))).one_or_none()
    return Enrollment(**row._mapping) if row is not None else None


async def lock(db: AsyncConnection, enrollment_id: UUID) -> Enrollment | None:
    """The row, locked until the transaction ends: payments (the consumers) and progress (the API) both change it.

    Whatever is decided with it is read by later statements: this one may have waited, and would still show other
    tables as they were before.
    """
    statement = select(*_COLUMNS).where(enrollments.c.id == enrollment_id).with_for_update()
    row = (await db.execute(statement)).one_or_none()
    return Enrollment(**row._mapping) if row is not None else None


def consequences(before: Enrollment | None, after: Enrollment) -> Consequences:
    """The event to publish, with an id derived from the row and its revision."""
    event = domain.event(before, after)
    if event is None:
        return Consequences()
    id = f"{after.id}/{after.revision}/{event.type}"
    return Consequences(events=(Publication(event=event, id=id, subject=str(after.purchase_id or after.id)),))


async def complete(uow: UnitOfWork, before: Enrollment) -> None:
    """Completes the enrollment and publishes it. Updates only the columns that the API's login may write."""
    completed = domain.complete(before, at=uow.now)
    await uow.db.execute(
        update(enrollments)
        .where(enrollments.c.id == completed.id)
        .values(
            status=completed.status.value,
            reason=completed.reason,
            completed_at=completed.completed_at,
            revision=completed.revision,
            updated_at=uow.now,
        )
    )
    for each in consequences(before, completed).events:
        await uow.publish(each.event, id=each.id, subject=each.subject)
