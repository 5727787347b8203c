"""What sponsors have been asked to pay for the students of a caseload."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import func, select

from checkout.installments.views import select_purchases
from checkout.purchases.tables import purchases
from kit.db.database import row_dict
from kit.http.auth import CaseManager
from kit.http.dependencies import CallerUnitOfWork

router = APIRouter(prefix="/api/admin/caseload", tags=["admin"])


class SourceFunding(BaseModel):
    """Of one sponsor and currency: purchases that were not canceled and have not expired."""

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
    funded = selected.where(
        purchases.c.payer == "sponsor",
        purchases.c.funding_source.is_not(None),
        status.not_in(("canceled", "expired")),
    ).subquery()
    by = (funded.c.funding_source, funded.c.currency)
    sums = select(
        *by,
        func.count(funded.c.student_id.distinct()).label("students"),
        *(func.sum(funded.c[name]).label(name) for name in ("amount", "paid", "due")),
    )
    rows = (await uow.db.execute(sums.group_by(*by).order_by(*by))).all()
    return CaseloadFunding(items=[SourceFunding.model_validate(row_dict(row)) for row in rows])
