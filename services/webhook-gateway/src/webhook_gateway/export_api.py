"""The gateway's part of a student's export: raw events, for admins."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter

from contracts.audit import Act
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http import audit
from kit.http.auth import Admin
from kit.http.export import StudentExport
from webhook_gateway import erasures
from webhook_gateway.admin_context import CurrentContext
from webhook_gateway.topology import SERVICE

router = APIRouter(prefix="/api/admin", tags=["operations"])


@router.get("/students/{id}/export")
async def export_student(id: UUID, _: Admin, context: CurrentContext) -> StudentExport:
    """Stripe's events that name the student, or one of the payments that such an event names. Recorded in the audit
    trail."""
    async with context.database.transaction() as db:
        uow = UnitOfWork(db=db, source=SERVICE, now=utc_now())
        await audit.record(uow, Act.of("student.exported", "student", id, student_id=id))
        found: list[dict[str, Any]] = await erasures.events_about(db, id)
    return StudentExport(service=SERVICE, student_id=id, tables={"journal_events": found})
