"""Payments and disputes for admins."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime
from sqlalchemy import Select, select

from checkout.payments.domain import PaymentStatus
from checkout.payments.problems import UNKNOWN_DISPUTE
from checkout.payments.tables import disputes, payments
from checkout.payments.views import AdminPayment, Dispute, DisputeDetail
from checkout.purchases.tables import purchases
from contracts.people import Payer
from kit.db.database import row_dict
from kit.http.auth import Admin, Caller, requires
from kit.http.dependencies import CallerUnitOfWork
from kit.http.paging import NEWEST, Cursor, Page, page_of

router = APIRouter(prefix="/api/admin", tags=["admin"])

Limit = Annotated[int, Query(ge=1, le=200)]


@router.get("/payments")
async def list_payments(
    _: Annotated[Caller, Depends(requires("admin", scope="payments:read"))],
    uow: CallerUnitOfWork,
    student_id: UUID | None = None,
    status: PaymentStatus | None = None,
    item_slug: Annotated[str | None, Query(max_length=200)] = None,
    purchase_id: UUID | None = None,
    payer: Payer | None = None,
    funding_source: Annotated[str | None, Query(max_length=50)] = None,
    method: Annotated[str | None, Query(max_length=50, description="card, us_bank_account, cash, …")] = None,
    disputed: bool | None = None,
    late: Annotated[bool | None, Query(description="the money arrived after the purchase had ended")] = None,
    since: Annotated[AwareDatetime | None, Query(alias="from", description="created at this time or later")] = None,
    until: Annotated[AwareDatetime | None, Query(alias="to", description="created before this time")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    sort: Literal["-created_at", "created_at", "-amount", "amount"] = NEWEST,
) -> Page[AdminPayment]:
    """All payments, newest first."""
    equal = {
        "student_id": student_id,
        "purchase_id": purchase_id,
        "status": status,
        "item_slug": item_slug,
        "payer": payer,
        "method": method,
        "disputed": disputed,
        "late": late,
    }
    wanted: Select[Any] = select(payments).where(
        *(payments.c[name] == value for name, value in equal.items() if value is not None)
    )
    if funding_source is not None:
        funded = select(purchases.c.id).where(purchases.c.funding_source == funding_source)
        wanted = wanted.where(payments.c.purchase_id.in_(funded))
    wanted = _between(wanted, since, until)
    return await page_of(uow.db, wanted, payments, AdminPayment, cursor=cursor, limit=limit, sort=sort)


@router.get("/disputes")
async def list_disputes(
    _: Admin,
    uow: CallerUnitOfWork,
    open: Annotated[bool | None, Query(description="true: open; false: closed; if omitted, all")] = None,
    student_id: UUID | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    sort: Literal["-created_at", "created_at", "-amount", "amount"] = NEWEST,
) -> Page[Dispute]:
    """All disputes, newest first. An open one states when its evidence is due."""
    wanted: Select[Any] = select(disputes)
    if open is not None:
        wanted = wanted.where(disputes.c.closed_at.is_(None) if open else disputes.c.closed_at.is_not(None))
    if student_id is not None:
        wanted = wanted.where(disputes.c.student_id == student_id)
    return await page_of(uow.db, wanted, disputes, Dispute, cursor=cursor, limit=limit, sort=sort)


@router.get("/disputes/{dispute_id}")
async def read_dispute(dispute_id: UUID, _: Admin, uow: CallerUnitOfWork) -> DisputeDetail:
    """One dispute with every event of it."""
    row = (await uow.db.execute(select(disputes).where(disputes.c.id == dispute_id))).one_or_none()
    if row is None:
        raise UNKNOWN_DISPUTE()
    return DisputeDetail.model_validate(row_dict(row))


def _between(wanted: Select[Any], since: datetime | None, until: datetime | None) -> Select[Any]:
    if since is not None:
        wanted = wanted.where(payments.c.created_at >= since)
    if until is not None:
        wanted = wanted.where(payments.c.created_at < until)
    return wanted
