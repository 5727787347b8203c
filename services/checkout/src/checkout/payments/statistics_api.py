"""A specialist's revenue."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime

from checkout.payments.problems import SPECIALIST_MISSING
from checkout.payments.statistics import SpecialistStatistics, revenue_of
from kit.http.auth import Caller, requires
from kit.http.dependencies import CallerUnitOfWork
from kit.http.paging import Page
from kit.http.problems import FORBIDDEN

router = APIRouter(prefix="/api/payments", tags=["payments"])

Specialist = Annotated[Caller, Depends(requires("specialist", "admin"))]


@router.get("/specialist/statistics")
async def read_specialist_statistics(
    caller: Specialist,
    uow: CallerUnitOfWork,
    specialist_id: UUID | None = None,
    since: Annotated[AwareDatetime | None, Query(alias="from", description="paid at this time or later")] = None,
    until: Annotated[AwareDatetime | None, Query(alias="to", description="paid before this time")] = None,
) -> Page[SpecialistStatistics]:
    """The caller's revenue per currency; admins name a specialist."""
    if caller.is_admin and specialist_id is None:
        raise SPECIALIST_MISSING()
    if not caller.is_admin and specialist_id not in (None, caller.id):
        raise FORBIDDEN("Specialists can see only their own revenue.")
    return Page(items=await revenue_of(uow.db, specialist_id or caller.id, since=since, until=until))
