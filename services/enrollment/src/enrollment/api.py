"""GET /api/enrollments: a student's enrollments."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.people import ItemKind
from enrollment import repository
from enrollment.domain import Enrollment, PaymentStatus, Source, Status
from enrollment.problems import UNKNOWN_ENROLLMENT
from enrollment.tables import enrollments
from kit.http.auth import ROLES, Caller, requires
from kit.http.dependencies import CallerUnitOfWork
from kit.http.paging import Cursor, Page, page_of
from ledger.verdict import SUPERSEDED

router = APIRouter(tags=["enrollments"])


class EnrollmentView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

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
    enrolled_at: datetime | None = Field(description="when it was paid for; None while it is not")
    completed_at: datetime | None
    created_at: datetime
    updated_at: datetime


@router.get("/api/enrollments")
async def list_enrollments(
    _: Annotated[Caller, Depends(requires(*ROLES, scope="enrollments:read"))],
    uow: CallerUnitOfWork,
    status: Annotated[Status | None, Query()] = None,
    kind: Annotated[ItemKind | None, Query()] = None,
    payment_status: Annotated[PaymentStatus | None, Query()] = None,
    source: Annotated[Source | None, Query()] = None,
    program_slug: Annotated[str | None, Query(max_length=200)] = None,
    product_id: Annotated[str | None, Query(max_length=200, description="the catalog's id of the item")] = None,
    student_id: Annotated[UUID | None, Query()] = None,
    user_id: Annotated[UUID | None, Query(description="the same as `student_id`")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[EnrollmentView]:
    """The caller's own enrollments, newest first; case managers see their caseload's, admins everybody's.

    Superseded ones are left out: they were written for a name that a later event corrected.
    """
    columns = enrollments.c
    statement = select(enrollments).where(columns.reason.is_distinct_from(SUPERSEDED))
    for column, value in (
        (columns.status, status.value if status else None),
        (columns.kind, kind),
        (columns.payment_status, payment_status),
        (columns.source, source),
        (columns.program_slug, program_slug),
        (columns.program_id, product_id),
        (columns.student_id, student_id),
        (columns.student_id, user_id),
    ):
        if value is not None:
            statement = statement.where(column == value)
    return await page_of(uow.db, statement, enrollments, EnrollmentView, cursor=cursor, limit=limit)


@router.get("/api/enrollments/{enrollment_id}")
async def read_enrollment(uow: CallerUnitOfWork, enrollment_id: UUID) -> EnrollmentView:
    """One enrollment: the caller's own; for case managers their caseload's, for admins anybody's."""
    await visible(uow.db, enrollment_id)
    row = (await uow.db.execute(select(enrollments).where(enrollments.c.id == enrollment_id))).one()
    return EnrollmentView.model_validate(row)


async def visible(db: AsyncConnection, enrollment_id: UUID) -> Enrollment:
    """Raises a 404 Problem for one that the caller may not see, as for one that does not exist."""
    enrollment = await repository.read(db, enrollment_id)
    if enrollment is None:
        raise UNKNOWN_ENROLLMENT()
    return enrollment
