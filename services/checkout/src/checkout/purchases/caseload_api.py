"""Who is in which case manager's caseload, for admins; case managers read their own."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from checkout.purchases import caseload as cases
from checkout.purchases.tables import contacts
from kit.db.caseload import caseload
from kit.db.database import row_dict
from kit.http.auth import Admin, CaseManager
from kit.http.dependencies import CallerUnitOfWork
from kit.http.openapi import example
from kit.http.paging import Page

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
    cursor: Annotated[UUID | None, Query(description="`next` of the previous page")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[CaseloadEntry]:
    """The students who have a case manager, by id: all of them for admins, the caller's own for case managers."""
    columns = caseload.c
    wanted = select(
        columns.student_id, columns.case_manager_id, columns.updated_at, contacts.c.name, contacts.c.email
    ).select_from(caseload.outerjoin(contacts, contacts.c.student_id == columns.student_id))
    wanted = wanted.where(columns.case_manager_id.is_not(None))
    if case_manager_id is not None:
        wanted = wanted.where(columns.case_manager_id == case_manager_id)
    if cursor is not None:
        wanted = wanted.where(columns.student_id > cursor)
    rows = (await uow.db.execute(wanted.order_by(columns.student_id).limit(limit + 1))).all()
    items = [CaseloadEntry.model_validate(row_dict(row)) for row in rows[:limit]]
    return Page(items=items, next=str(items[-1].student_id) if len(rows) > limit else None)


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
