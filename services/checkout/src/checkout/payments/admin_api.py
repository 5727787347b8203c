"""What checkout answers to admins about money: everybody's payments, and disputes through their whole life."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime
from sqlalchemy import Select, select

from checkout.payments.domain import PaymentStatus
from checkout.payments.tables import disputes, payments
from checkout.payments.views import AdminPayment, Dispute, DisputeDetail
from checkout.purchases.dependencies import database_of
from kit.db.database import row_dict
from kit.http.auth import Admin
from kit.http.errors import Problem
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(prefix="/api/admin", tags=["admin"])

Limit = Annotated[int, Query(ge=1, le=200)]


@router.get("/payments")
async def list_payments(
    request: Request,
    caller: Admin,
    student_id: UUID | None = None,
    status: PaymentStatus | None = None,
    item_slug: Annotated[str | None, Query(max_length=200)] = None,
    since: Annotated[AwareDatetime | None, Query(alias="from", description="made at this time or later")] = None,
    until: Annotated[AwareDatetime | None, Query(alias="to", description="made before this time")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[AdminPayment]:
    """Everybody's, newest first."""
    wanted: Select[Any] = select(payments)
    for column, value in ((payments.c.student_id, student_id), (payments.c.status, status)):
        if value is not None:
            wanted = wanted.where(column == value)
    if item_slug is not None:
        wanted = wanted.where(payments.c.item_slug == item_slug)
    wanted = _between(wanted, since, until)
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        return await page_of(db, wanted, payments, AdminPayment, cursor=cursor, limit=limit)


@router.get("/disputes")
async def list_disputes(
    request: Request,
    caller: Admin,
    open: Annotated[bool | None, Query(description="true: not closed yet; false: closed; without it, all")] = None,
    student_id: UUID | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Dispute]:
    """Newest first. What is open has a day by which evidence is due."""
    wanted: Select[Any] = select(disputes)
    if open is not None:
        wanted = wanted.where(disputes.c.closed_at.is_(None) if open else disputes.c.closed_at.is_not(None))
    if student_id is not None:
        wanted = wanted.where(disputes.c.student_id == student_id)
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        return await page_of(db, wanted, disputes, Dispute, cursor=cursor, limit=limit)


@router.get("/disputes/{dispute_id}")
async def read_dispute(request: Request, dispute_id: UUID, caller: Admin) -> DisputeDetail:
    """With every word of it that was heard."""
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        row = (await db.execute(select(disputes).where(disputes.c.id == dispute_id))).one_or_none()
    if row is None:
        raise Problem(404, "unknown_dispute", "There is no such dispute; GET /api/admin/disputes lists them.")
    return DisputeDetail.model_validate(row_dict(row))


def _between(wanted: Select[Any], since: datetime | None, until: datetime | None) -> Select[Any]:
    if since is not None:
        wanted = wanted.where(payments.c.created_at >= since)
    if until is not None:
        wanted = wanted.where(payments.c.created_at < until)
    return wanted
