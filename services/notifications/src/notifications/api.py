"""The HTTP API: the log of notifications, and resending by an admin."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from contracts.audit import Act
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http import audit
from kit.http.auth import Admin
from kit.http.dependencies import CallerUnitOfWork, CurrentDatabase
from kit.http.idempotency import once
from kit.http.paging import Cursor, Page, page_of
from kit.http.problems import Problem
from notifications import db
from notifications.alerts import CONTACT_ENDPOINT
from notifications.message import Channel, Recipient
from notifications.problems import NO_CONTACT, NOT_RESENDABLE, UNKNOWN_NOTIFICATION
from notifications.tables import notifications
from notifications.topology import SERVICE

router = APIRouter(tags=["notifications"])


class Notification(BaseModel):
    """A message that was sent or is scheduled, without its address and text. `unknown`: it was handed to the server,
    which did not answer."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    template: str
    channel: Channel
    recipient: Recipient
    student_id: UUID | None
    purchase_id: UUID | None
    status: db.Status
    code: str | None
    attempts: int
    attachment: str | None = Field(description="name of the attached file, such as a receipt or an invoice")
    sent_at: datetime | None
    created_at: datetime
    updated_at: datetime


@router.get("/api/notifications")
async def list_notifications(
    uow: CallerUnitOfWork,
    status: Annotated[db.Status | None, Query()] = None,
    template: Annotated[str | None, Query(max_length=100)] = None,
    channel: Annotated[Channel | None, Query()] = None,
    recipient: Annotated[Recipient | None, Query()] = None,
    student_id: Annotated[UUID | None, Query()] = None,
    purchase_id: Annotated[UUID | None, Query()] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[Notification]:
    """The caller's own notifications, newest first; admins see all. Skipped ones, which were out of date before they
    were sent, are only listed with `status=skipped`."""
    statement = select(notifications)
    statement = statement.where(notifications.c.status == status if status else notifications.c.status != "skipped")
    filters = {
        "template": template,
        "channel": channel,
        "recipient": recipient,
        "student_id": student_id,
        "purchase_id": purchase_id,
    }
    for column, value in filters.items():
        if value is not None:
            statement = statement.where(notifications.c[column] == value)
    return await page_of(uow.db, statement, notifications, Notification, cursor=cursor, limit=limit)


def _not_resendable(status: db.Status, recipient: Recipient, student_id: UUID | None) -> Problem:
    match status:
        case "no_contact" if recipient == "student" and student_id is not None:
            add = CONTACT_ENDPOINT.format(student_id)
            return NO_CONTACT(f"It waits for the student's address. Add it: {add}. It is sent then.")
        case "no_contact":
            return NO_CONTACT("It waits for the sponsor's address, and is sent when an event has one.")
        case "waiting" | "handed_over":
            return NOT_RESENDABLE("It is scheduled already and is sent without a resend.")
        case "skipped":
            return NOT_RESENDABLE("It was out of date and is not sent any more.")
        case _:
            return NOT_RESENDABLE("It was sent. Only failed and unknown notifications can be resent.")


@router.post("/api/admin/notifications/{notification_id}/resend", status_code=202, response_model=Notification)
async def resend_notification(
    request: Request, caller: Admin, database: CurrentDatabase, notification_id: UUID
) -> JSONResponse:
    """Sends a failed or unknown notification again, with the same Message-ID. It is derived from the current facts; if
    they no longer require it, it is skipped. One that waits for an address (`no_contact`) is sent when it is added."""

    async def act() -> Notification:
        async with database.transaction_of(student_id=caller.id, role=caller.role) as connection:
            now = utc_now()
            found = select(notifications).where(notifications.c.id == notification_id)
            before = (await connection.execute(found)).one_or_none()
            queued = await db.requeue(connection, notification_id, from_statuses=["failed", "unknown"], now=now)
            row = (await connection.execute(found)).one_or_none()
            if before is not None and queued:
                resent = Act.of(
                    "notification.resent",
                    "notification",
                    notification_id,
                    purchase_id=before.purchase_id,
                    student_id=before.about_student_id,
                    before={"status": before.status, "template": before.template},
                    after={"status": "waiting", "template": before.template},
                )
                await audit.record(UnitOfWork(db=connection, source=SERVICE, now=now), resent)
        if row is None:
            raise UNKNOWN_NOTIFICATION()
        if not queued:
            raise _not_resendable(row.status, row.recipient, row.about_student_id)
        return Notification.model_validate(row)

    return await once(request, database, caller=str(caller.id), act=act, status=202)
