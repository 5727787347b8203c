"""What enrollment answers: enrollments."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.people import ItemKind
from enrollment.domain import PaymentStatus, Source, Status
from enrollment.tables import enrollments
from kit.db.database import Database, row_dict
from kit.http.auth import CurrentCaller
from kit.http.errors import Problem
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(tags=["enrollments"])


class Enrollment(BaseModel):
    id: UUID
    student_id: UUID
    program_slug: str
    program_id: str
    program_name: str
    provider: str | None
    kind: ItemKind
    track: str | None = Field(description="the slug, when it is a track")
    tier: str | None = Field(description="what a membership gives access to")
    status: Status
    reason: str | None
    payment_status: PaymentStatus
    source: Source
    purchase_id: UUID | None
    funding_source: str | None
    created_at: datetime
    updated_at: datetime


@router.get("/api/enrollments")
async def list_enrollments(
    request: Request,
    caller: CurrentCaller,
    status: Annotated[Status | None, Query()] = None,
    kind: Annotated[ItemKind | None, Query()] = None,
    payment_status: Annotated[PaymentStatus | None, Query()] = None,
    source: Annotated[Source | None, Query()] = None,
    program_slug: Annotated[str | None, Query(max_length=200)] = None,
    student_id: Annotated[UUID | None, Query()] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[Enrollment]:
    """The caller's own enrollments, newest first; case managers and admins see everybody's."""
    wanted = select(enrollments)
    filters = {
        "status": status.value if status else None,
        "kind": kind,
        "payment_status": payment_status,
        "source": source,
        "program_slug": program_slug,
        "student_id": student_id,
    }
    for column, value in filters.items():
        if value is not None:
            wanted = wanted.where(enrollments.c[column] == value)
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        return await page_of(db, wanted, enrollments, Enrollment, cursor=cursor, limit=limit)


@router.get("/api/enrollments/{enrollment_id}")
async def read_enrollment(request: Request, caller: CurrentCaller, enrollment_id: UUID) -> Enrollment:
    """One enrollment: the caller's own, or anybody's for case managers and admins."""
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        return Enrollment.model_validate(row_dict(await visible(db, enrollment_id)))


async def visible(db: AsyncConnection, enrollment_id: UUID) -> Row[Any]:
    """The row, when the caller may see it; else a 404."""
    row = (await db.execute(select(enrollments).where(enrollments.c.id == enrollment_id))).one_or_none()
    if row is None:
        raise Problem(404, "unknown_enrollment", "You have no such enrollment; GET /api/enrollments lists yours.")
    return row


def database_of(request: Request) -> Database:
    database: Database = request.app.state.database
    return database
