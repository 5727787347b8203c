"""The HTTP API, for admins: the audit trail, and the timeline of a purchase."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import select

from kit.http.auth import Admin, Caller, requires
from kit.http.dependencies import CallerUnitOfWork
from kit.http.paging import NEWEST, Cursor, Page, page_of
from kit.http.problems import INVALID_REQUEST
from reporting import audit_trail, event_log
from reporting.problems import UNKNOWN_PURCHASE
from reporting.tables import audit_records

router = APIRouter(tags=["reporting"])


class AuditRecordView(BaseModel):
    """An administrative act: who, what, before, after, why, from where."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    position: int = Field(description="in the chain; 1 is the first record")
    service: str
    created_at: datetime = Field(description="when it was done")
    actor_id: str = Field(description="a staff member's UUID, or an operator's user name")
    actor_role: str
    action: str
    object_type: str
    object_id: str
    purchase_id: UUID | None
    student_id: UUID | None
    refs: list[str] = Field(description="ids at Stripe")
    before: dict[str, Any] | None = Field(description="the fields that differ")
    after: dict[str, Any] | None
    reason: str | None
    address: str | None
    trace_id: str | None


class AuditVerification(BaseModel):
    holds: bool
    records: int = Field(description="how many hold, from the first one")
    hash: str = Field(description="of the last record that holds, hexadecimal: keep it elsewhere")
    broken: int | None = Field(description="the position of the first record that does not hold")
    reason: str | None


class TimelineEvent(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    event_id: str
    type: str
    source: str
    time: datetime = Field(description="when it occurred")
    received_at: datetime = Field(description="when reporting received it")
    causation_id: str = Field(description="the id of the event that caused it; empty if none did")
    refs: list[str] = Field(description="ids at Stripe")
    data: dict[str, Any] = Field(description="without personal data")


class Timeline(BaseModel):
    purchase_id: UUID | None = Field(description="null: a payment that belongs to no purchase")
    events: list[TimelineEvent] = Field(description="oldest first, of all services")


@router.get("/api/admin/audit")
async def list_audit_records(
    _: Annotated[Caller, Depends(requires("admin", scope="audit:read"))],
    uow: CallerUnitOfWork,
    purchase_id: Annotated[UUID | None, Query()] = None,
    student_id: Annotated[UUID | None, Query()] = None,
    stripe_id: Annotated[str | None, Query(max_length=255)] = None,
    actor_id: Annotated[str | None, Query(max_length=200)] = None,
    action: Annotated[str | None, Query(max_length=100)] = None,
    object_id: Annotated[str | None, Query(max_length=300)] = None,
    since: Annotated[AwareDatetime | None, Query()] = None,
    until: Annotated[AwareDatetime | None, Query()] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    sort: Literal["-created_at", "created_at"] = NEWEST,
) -> Page[AuditRecordView]:
    """Administrative acts of all services, newest first. `since` is included in the period, `until` is not."""
    columns = audit_records.c
    statement = select(audit_records)
    for column, value in (
        (columns.purchase_id, purchase_id),
        (columns.student_id, student_id),
        (columns.actor_id, actor_id),
        (columns.action, action),
        (columns.object_id, object_id),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if stripe_id is not None:
        statement = statement.where(columns.refs.contains([stripe_id]))
    if since is not None:
        statement = statement.where(columns.created_at >= since)
    if until is not None:
        statement = statement.where(columns.created_at < until)
    return await page_of(uow.db, statement, audit_records, AuditRecordView, cursor=cursor, limit=limit, sort=sort)


@router.get("/api/admin/audit/verify")
async def verify_audit(_: Admin, uow: CallerUnitOfWork) -> AuditVerification:
    """Whether no audit record was changed, removed or put in between, and which is the first that does not hold."""
    found = await audit_trail.verify(uow.db)
    return AuditVerification(
        holds=found.broken is None,
        records=found.records,
        hash=found.hash.hex(),
        broken=found.broken,
        reason=found.reason,
    )


@router.get("/api/admin/purchases/{purchase_id}/timeline")
async def read_timeline(_: Admin, uow: CallerUnitOfWork, purchase_id: UUID) -> Timeline:
    """Every event of a purchase across all services, with the audit records about it, oldest first."""
    found = await event_log.timeline(uow.db, purchase_id)
    if not found:
        raise UNKNOWN_PURCHASE()
    return _timeline(event_log.Timeline(purchase_id, found))


@router.get("/api/admin/timelines")
async def list_timelines(
    _: Admin,
    uow: CallerUnitOfWork,
    student_id: Annotated[UUID | None, Query()] = None,
    stripe_id: Annotated[str | None, Query(max_length=255, description="pi_, in_, cs_, ch_, re_, dp_, …")] = None,
) -> Page[Timeline]:
    """Every event of each purchase of a student, or of the purchases that an object of Stripe belongs to. Oldest first;
    at most the latest 20 purchases."""
    if student_id is not None and stripe_id is None:
        found = await event_log.timelines_of_student(uow.db, student_id)
    elif stripe_id is not None and student_id is None:
        found = await event_log.timelines_about(uow.db, stripe_id)
    else:
        raise INVALID_REQUEST("Name either `student_id` or `stripe_id`.")
    return Page(items=[_timeline(each) for each in found])


def _timeline(found: event_log.Timeline) -> Timeline:
    shown = [TimelineEvent.model_validate(dict(row)) for row in found.events]
    return Timeline(purchase_id=found.purchase_id, events=shown)
