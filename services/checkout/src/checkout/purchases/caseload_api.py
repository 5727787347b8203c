"""Who is in which case manager's caseload, for admins; case managers read their own."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import exists, func, select

from checkout.purchases import caseload as cases
from checkout.purchases.tables import contacts, purchases
from kit.db.caseload import caseload
from kit.http.auth import Admin, CaseManager
from kit.http.dependencies import CallerUnitOfWork
from kit.http.openapi import example
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(prefix="/api/admin", tags=["admin"])


class CaseManagerAssignment(
    BaseModel,
    json_schema_extra=example(
        case_manager_id="5e0a3c52-4bd6-4c39-9f4e-0c1d4be5a7a1", reason="Takes over the Austin office."
    ),
):
    """`case_manager_id`: the `sub` of the case manager's tokens; null: nobody, until an admin assigns one."""

    model_config = ConfigDict(extra="forbid")

    case_manager_id: UUID | None
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class StudentCaseManager(BaseModel):
    """`case_manager_id` null: nobody."""

    student_id: UUID
    case_manager_id: UUID | None


class CaseloadEntry(StudentCaseManager):
    """`name` and `email` null: not known."""

    name: str | None
    email: str | None
    updated_at: datetime


@router.get("/caseload")
async def list_caseload(
    caller: CaseManager,
    uow: CallerUnitOfWork,
    case_manager_id: UUID | None = None,
    product: Annotated[str | None, Query(max_length=200, description="they have bought it: its slug")] = None,
    funding_source: Annotated[str | None, Query(max_length=50, description="it was asked to pay: its code")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    sort: Literal["name", "-name", "-updated_at", "updated_at"] = "name",
) -> Page[CaseloadEntry]:
    """The students who have a case manager, by name: all of them for admins, the caller's own for case managers. Those
    whose name is not known come first."""
    entries = (
        select(
            caseload.c.student_id.label("id"),
            caseload.c.student_id,
            caseload.c.case_manager_id,
            caseload.c.updated_at,
            contacts.c.name,
            contacts.c.email,
            func.coalesce(contacts.c.name, "").label("known_name"),
        )
        .select_from(caseload.outerjoin(contacts, contacts.c.student_id == caseload.c.student_id))
        .where(caseload.c.case_manager_id.is_not(None))
        .subquery()
    )
    wanted = select(entries)
    if case_manager_id is not None:
        wanted = wanted.where(entries.c.case_manager_id == case_manager_id)
    bought = exists().where(purchases.c.student_id == entries.c.student_id)
    if product is not None:
        wanted = wanted.where(bought.where(purchases.c.program_slug == product))
    if funding_source is not None:
        asked = bought.where(purchases.c.payer == "sponsor", purchases.c.funding_source == funding_source.upper())
        wanted = wanted.where(asked)
    by = sort.replace("name", "known_name")
    return await page_of(uow.db, wanted, entries, CaseloadEntry, cursor=cursor, limit=limit, sort=by)


@router.get("/students/{id}/case-manager")
async def read_case_manager(id: UUID, _: Admin, uow: CallerUnitOfWork) -> StudentCaseManager:
    """Who sees the student's rows beside the admins."""
    row = await cases.read(uow.db, id)
    return StudentCaseManager(student_id=id, case_manager_id=row.case_manager_id if row is not None else None)


@router.put("/students/{id}/case-manager")
async def assign_case_manager(
    id: UUID, body: CaseManagerAssignment, _: Admin, uow: CallerUnitOfWork
) -> StudentCaseManager:
    """Assigns the student to a case manager, who sees the student's rows from now on, or to nobody. The previous one no
    longer does."""
    await cases.assign(uow, id, body.case_manager_id, reason=body.reason)
    return StudentCaseManager(student_id=id, case_manager_id=body.case_manager_id)
