"""What a specialist has earned."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime

from checkout.payments.statistics import Statistics, revenue_of
from checkout.purchases.dependencies import database_of
from kit.http.auth import Caller, requires
from kit.http.errors import Problem
from kit.http.paging import Page

router = APIRouter(prefix="/api/payments", tags=["payments"])

Specialist = Annotated[Caller, Depends(requires("specialist", "admin"))]


@router.get("/specialist/statistics")
async def read_statistics(
    request: Request,
    caller: Specialist,
    specialist_id: UUID | None = None,
    since: Annotated[AwareDatetime | None, Query(alias="from", description="paid at this time or later")] = None,
    until: Annotated[AwareDatetime | None, Query(alias="to", description="paid before this time")] = None,
) -> Page[Statistics]:
    """The caller's own revenue, for each currency; an admin says whose."""
    if caller.is_admin and specialist_id is None:
        raise Problem(422, "specialist_missing", "Say whose: ?specialist_id=…")
    if not caller.is_admin and specialist_id not in (None, caller.id):
        raise Problem(403, "forbidden", "A specialist sees their own revenue only.")
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        return Page(items=await revenue_of(db, specialist_id or caller.id, since=since, until=until))
