"""What a service stores about a student, for admins and for the student: the service's part of an export."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field
from pydantic_core import to_jsonable_python
from sqlalchemy import Row, select, text

from contracts.audit import Act
from kit.db.unit_of_work import UnitOfWork
from kit.http import audit
from kit.http.auth import Admin, OnlyStudent
from kit.http.dependencies import CallerUnitOfWork, CurrentDatabase
from kit.http.limits import LIMIT_EXPORTS
from kit.personal_data.declaration import PersonalData, patterns

_FACTS = text(
    "SELECT event_id, type, time, body FROM facts WHERE group_id IN ("
    " SELECT group_id FROM fact_keys WHERE key LIKE ANY (CAST(:patterns AS text[]))) ORDER BY time, event_id"
)


class StudentExport(BaseModel):
    service: str
    student_id: UUID
    tables: dict[str, list[dict[str, Any]]] = Field(description="rows about the student, by table; bytes as base64")
    omitted: list[str] = Field(default=[], description="tables that only an admin's export has: ask the school for it")


def export_router(personal: PersonalData, *, to_students: bool = True) -> APIRouter:
    """`to_students`: a student can read their own rows."""
    router = APIRouter(tags=["admin"])

    @router.get("/api/admin/students/{id}/export")
    async def export_student(id: UUID, _: Admin, uow: CallerUnitOfWork) -> StudentExport:
        """Everything that this service stores about the student. Recorded in the audit trail."""
        await audit.record(uow, Act.of("student.exported", "student", id, student_id=id))
        return StudentExport(service=uow.source, student_id=id, tables=await rows_about(uow, personal, id))

    if not to_students:
        return router

    @router.get("/api/me/export", dependencies=[LIMIT_EXPORTS], tags=["students"])
    async def export_own(caller: OnlyStudent, uow: CallerUnitOfWork, database: CurrentDatabase) -> StudentExport:
        """What this service stores about the student of the token, as far as row-level security shows it to them.
        Recorded in the audit trail."""
        async with database.transaction_of(student_id=None, role="admin") as db:  # no student's login may write that
            own = Act.of("student.exported", "student", caller.id, student_id=caller.id)
            await audit.record(UnitOfWork(db=db, source=uow.source, now=uow.now), own)
        tables, omitted = await _own_rows(uow, personal, caller.id)
        return StudentExport(service=uow.source, student_id=caller.id, tables=tables, omitted=omitted)

    return router


_READABLE = text("SELECT has_table_privilege(CAST(:name AS text), 'SELECT')")


async def _own_rows(
    uow: UnitOfWork, personal: PersonalData, student_id: UUID
) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """The rows, and the tables that the student's login may not read."""
    found: dict[str, list[dict[str, Any]]] = {}
    omitted = {"facts"}
    for each in personal.tables:
        if not each.exported:
            continue
        if await uow.db.scalar(_READABLE, {"name": each.table.name}):
            wanted = select(each.table).where(each.table.c[each.person] == student_id)
            found.setdefault(each.table.name, []).extend(_jsonable(await _rows(uow, wanted)))
        else:
            omitted.add(each.table.name)
    return found, sorted(omitted)


async def rows_about(uow: UnitOfWork, personal: PersonalData, student_id: UUID) -> dict[str, list[dict[str, Any]]]:
    found = {"facts": _jsonable(await _rows(uow, _FACTS, {"patterns": patterns([str(student_id)])}))}
    for each in personal.tables:
        if each.exported:
            wanted = select(each.table).where(each.table.c[each.person] == student_id)
            found.setdefault(each.table.name, []).extend(_jsonable(await _rows(uow, wanted)))
    for name, rows in (await personal.export(uow.db, student_id)).items():
        found.setdefault(name, []).extend(_jsonable(rows))
    return found


async def _rows(uow: UnitOfWork, statement: Any, values: Mapping[str, Any] | None = None) -> list[Mapping[str, Any]]:
    rows: Sequence[Row[Any]] = (await uow.db.execute(statement, dict(values or {}))).all()
    return [dict(row._mapping) for row in rows]


def _jsonable(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            name: base64.b64encode(value).decode() if isinstance(value, bytes) else to_jsonable_python(value)
            for name, value in row.items()
        }
        for row in rows
    ]
