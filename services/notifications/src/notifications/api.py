"""What notifications answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy import select

from kit.db.database import Database, row_dict
from kit.db.unit_of_work import utc_now
from kit.http.auth import Admin, CurrentCaller
from kit.http.errors import Problem
from kit.http.idempotency import once
from kit.http.paging import Cursor, Page, page_of
from notifications import db
from notifications.message import Channel, Recipient
from notifications.tables import notifications

router = APIRouter(tags=["notifications"])

Status = Literal["waiting", "no_contact", "handed_over", "sent", "skipped", "failed", "unknown"]


class Notification(BaseModel):
    """What was sent, or is about to be; no address and no text. `unknown`: handed over, and never answered."""

    id: UUID
    template: str
    channel: Channel
    recipient: Recipient
    student_id: UUID | None
    purchase_id: UUID | None
    status: Status
    code: str | None
    attempts: int
    attachment: str | None = Field(description="the name of the file that went along: a receipt, an invoice")
    sent_at: datetime | None
    created_at: datetime
    updated_at: datetime


@router.get("/api/notifications")
async def list_notifications(
    request: Request,
    caller: CurrentCaller,
    status: Annotated[Status | None, Query()] = None,
    template: Annotated[str | None, Query(max_length=100)] = None,
    channel: Annotated[Channel | None, Query()] = None,
    recipient: Annotated[Recipient | None, Query()] = None,
    student_id: Annotated[UUID | None, Query()] = None,
    purchase_id: Annotated[UUID | None, Query()] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[Notification]:
    """The caller's own messages, newest first; admins see all. What turned out superfluous is shown only when asked
    for (`status=skipped`)."""
    wanted = select(notifications)
    wanted = wanted.where(notifications.c.status == status if status else notifications.c.status != "skipped")
    filters = {
        "template": template,
        "channel": channel,
        "recipient": recipient,
        "student_id": student_id,
        "purchase_id": purchase_id,
    }
    for column, value in filters.items():
        if value is not None:
            wanted = wanted.where(notifications.c[column] == value)
    database: Database = request.app.state.database
    async with database.transaction_of(student_id=caller.id, role=caller.role) as connection:
        return await page_of(connection, wanted, notifications, Notification, cursor=cursor, limit=limit)


@router.post("/api/admin/notifications/{notification_id}/resend", status_code=202, response_model=Notification)
async def resend(request: Request, caller: Admin, notification_id: UUID) -> JSONResponse:
    """Sends a message again that failed, or of which nobody knows whether it arrived. It is derived from the facts
    anew and keeps its Message-ID; what is not true any more is skipped."""
    database: Database = request.app.state.database

    async def act() -> Notification:
        async with database.transaction_of(student_id=caller.id, role=caller.role) as connection:
            queued = await db.again(connection, notification_id, before=("failed", "unknown"), now=utc_now())
            row = await db.read(connection, notification_id)
        if row is None:
            raise Problem(404, "unknown_notification", "There is no notification with this id.")
        if not queued:
            raise Problem(
                409,
                "not_resendable",
                f"This notification is {row.status}; only failed and unknown ones can be sent again.",
            )
        return Notification.model_validate(row_dict(row))

    return await once(request, database, caller=str(caller.id), act=act, status=202)
