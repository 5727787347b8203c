"""What enrollment answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from sqlalchemy import select

from enrollment.domain import PaymentStatus, Source, Status
from enrollment.tables import enrollments
from kit.auth import CurrentCaller
from kit.db import Database
from kit.paging import Cursor, Page, page_of

router = APIRouter(tags=["enrollments"])


class Enrollment(BaseModel):
    id: UUID
    student_id: UUID
    program_slug: str
    program_id: str
    program_name: str
    provider: str | None
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
    payment_status: Annotated[PaymentStatus | None, Query()] = None,
    source: Annotated[Source | None, Query()] = None,
    program_slug: Annotated[str | None, Query(max_length=200)] = None,
    student_id: Annotated[UUID | None, Query()] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[Enrollment]:
    """The caller's own enrolments, newest first; case managers and admins see everybody's."""
    wanted = select(enrollments)
    filters = {
        "status": status.value if status else None,
        "payment_status": payment_status,
        "source": source,
        "program_slug": program_slug,
        "student_id": student_id,
    }
    for column, value in filters.items():
        if value is not None:
            wanted = wanted.where(enrollments.c[column] == value)
    database: Database = request.app.state.database
    async with database.transaction_of(student_id=caller.id, role=caller.role) as db:
        return await page_of(db, wanted, enrollments, Enrollment, cursor=cursor, limit=limit)
