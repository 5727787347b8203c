"""What sponsors have been asked to pay for the students of a caseload."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import case, func, select

from checkout.installments.domain import PAYABLE
from checkout.installments.tables import installments
from checkout.installments.views import select_purchases
from checkout.payments.domain import NOT_MONEY
from checkout.payments.tables import payments
from checkout.purchases.tables import purchases
from kit.db.database import row_dict
from kit.http.auth import CaseManager
from kit.http.dependencies import CallerUnitOfWork

router = APIRouter(prefix="/api/admin/caseload", tags=["admin"])


class SourceFunding(BaseModel):
    """Of one sponsor and currency: purchases that were not canceled and have not expired, without co-pays."""

    funding_source: str = Field(description="the sponsor's code")
    currency: str
    students: int
    amount: int
    paid: int
    due: int


class CaseloadFunding(BaseModel):
    items: list[SourceFunding]


@router.get("/funding")
async def read_caseload_funding(_: CaseManager, uow: CallerUnitOfWork) -> CaseloadFunding:
    """Sponsored purchases by sponsor: all of them for admins, those of the own caseload for case managers."""
    selected, status, _plan = select_purchases()
    paid_by_student = select(func.coalesce(func.sum(payments.c.amount), 0)).where(
        payments.c.purchase_id == purchases.c.id,
        payments.c.payer == "student",
        payments.c.status == "succeeded",
        func.coalesce(payments.c.method, "").not_in(NOT_MONEY),
    )
    invoiced = select(func.coalesce(func.sum(installments.c.amount), 0)).where(
        installments.c.purchase_id == purchases.c.id,
        installments.c.kind == "full",
        installments.c.status.in_(PAYABLE),
    )
    funded = (
        selected.add_columns(
            paid_by_student.scalar_subquery().label("paid_by_student"),
            invoiced.scalar_subquery().label("invoiced"),
        )
        .where(
            purchases.c.payer == "sponsor",
            purchases.c.funding_source.is_not(None),
            status.not_in(("canceled", "expired")),
        )
        .subquery()
    )
    by = (funded.c.funding_source, funded.c.currency)
    sums = select(
        *by,
        func.count(funded.c.student_id.distinct()).label("students"),
        func.sum(funded.c.amount - func.coalesce(funded.c.co_pay, 0)).label("amount"),
        func.sum(funded.c.paid - funded.c.paid_by_student).label("paid"),
        func.sum(case((funded.c.co_pay.is_(None), funded.c.due), else_=funded.c.invoiced)).label("due"),
    )
    rows = (await uow.db.execute(sums.group_by(*by).order_by(*by))).all()
    return CaseloadFunding(items=[SourceFunding.model_validate(row_dict(row)) for row in rows])
