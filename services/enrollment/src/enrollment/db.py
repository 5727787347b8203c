"""Enrollments in the database."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.people import Program
from enrollment.domain import EnrollmentState, Status
from enrollment.tables import enrollments


async def lock(db: AsyncConnection, enrollment_id: UUID) -> Row[Any] | None:
    """The enrollment's row, until the transaction ends: facts (the consumers) and studies (the API) both change it.

    Whatever is decided with it is read by statements after this one: this one may have waited, and would still show
    other tables as they were before.
    """
    return (
        await db.execute(select(enrollments).where(enrollments.c.id == enrollment_id).with_for_update())
    ).one_or_none()


def state_of(row: Row[Any]) -> EnrollmentState:
    return EnrollmentState(
        kind=row.kind,
        track=row.track,
        tier=row.tier,
        status=Status(row.status),
        reason=row.reason,
        payment_status=row.payment_status,
        source=row.source,
        purchase_id=row.purchase_id,
        funding_source=row.funding_source,
    )


async def write(
    db: AsyncConnection,
    enrollment_id: UUID,
    *,
    student_id: UUID,
    program: Program,
    state: EnrollmentState,
    revision: int,
    at: datetime,
) -> None:
    changing = {
        "program_id": program.id,
        "program_name": program.title,
        "provider": program.provider,
        "kind": state.kind,
        "track": state.track,
        "tier": state.tier,
        "status": state.status.value,
        "reason": state.reason,
        "payment_status": state.payment_status,
        "source": state.source,
        "purchase_id": state.purchase_id,
        "funding_source": state.funding_source,
        "revision": revision,
        "updated_at": at,
    }
    statement = insert(enrollments).values(
        id=enrollment_id, student_id=student_id, program_slug=program.slug, created_at=at, **changing
    )
    await db.execute(statement.on_conflict_do_update(index_elements=["id"], set_=changing))


async def write_completed(db: AsyncConnection, enrollment_id: UUID, *, revision: int, at: datetime) -> None:
    """What the API may write."""
    changing = {"status": Status.COMPLETED.value, "reason": None, "revision": revision, "updated_at": at}
    await db.execute(update(enrollments).where(enrollments.c.id == enrollment_id).values(**changing))
