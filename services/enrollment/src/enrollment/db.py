"""Seats in the database."""

from __future__ import annotations

from datetime import datetime
from uuid import NAMESPACE_URL, UUID, uuid5

from sqlalchemy import Row, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.people import Program
from enrollment.domain import SeatState, Status
from enrollment.tables import enrollments

_ENROLLMENTS = uuid5(NAMESPACE_URL, "urn:bursar:enrollment")


def enrollment_id(student_id: UUID, program_slug: str) -> UUID:
    """A seat has one id, whoever hears of it first."""
    return uuid5(_ENROLLMENTS, f"{student_id}/{program_slug}")


async def read(db: AsyncConnection, seat_id: UUID) -> tuple[SeatState, int] | None:
    """The seat and its revision. The facts of the seat are locked already, so nobody else is writing it."""
    row = (await db.execute(select(enrollments).where(enrollments.c.id == seat_id))).one_or_none()
    return None if row is None else (state_of(row), row.revision)


def state_of(row: Row[tuple[object, ...]]) -> SeatState:
    return SeatState(
        status=Status(row.status),
        reason=row.reason,
        payment_status=row.payment_status,
        source=row.source,
        purchase_id=row.purchase_id,
        funding_source=row.funding_source,
    )


async def write(
    db: AsyncConnection,
    seat_id: UUID,
    *,
    student_id: UUID,
    program: Program,
    state: SeatState,
    revision: int,
    at: datetime,
) -> None:
    changing = {
        "program_id": program.id,
        "program_name": program.title,
        "provider": program.provider,
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
        id=seat_id, student_id=student_id, program_slug=program.slug, created_at=at, **changing
    )
    await db.execute(statement.on_conflict_do_update(index_elements=["id"], set_=changing))
