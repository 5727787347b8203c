"""Students request refunds; admins approve, amend or reject them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import Select, select

from checkout.payments import refund_request_service
from checkout.payments.domain import RefundRequestRecord, RefundRequestStatus, RefundStatus
from checkout.payments.refund_readings import readings_for_admin
from checkout.payments.refund_request_service import RefundDecision
from checkout.payments.tables import payments, refund_requests, refunds
from checkout.purchases.dependencies import buyer_of, context_of
from kit.db.unit_of_work import UnitOfWork
from kit.http.auth import Admin, CurrentCaller
from kit.http.dependencies import CallerUnitOfWork, CurrentDatabase
from kit.http.idempotency import IDEMPOTENT, once
from kit.http.openapi import example
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(tags=["payments"])
admin_router = APIRouter(prefix="/api/admin", tags=["admin"])

Limit = Annotated[int, Query(ge=1, le=200)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewRefundRequest(
    Body, json_schema_extra=example(payment_intent_id="pi_3MtwBwLkdIwHu7ix28a3tqPa", reason="I am moving away.")
):
    payment_intent_id: Annotated[str, Field(min_length=1, max_length=255)]
    reason: Annotated[str, Field(min_length=1, max_length=2000)]


class RefundRequest(BaseModel):
    """`decided_amount` (minor units) is what an admin approved, which may be less than what was paid."""

    id: UUID
    payment_id: UUID
    purchase_id: UUID
    student_id: UUID
    reason: str
    status: RefundRequestStatus
    decided_amount: int | None
    currency: str
    decided_at: datetime | None
    note: str | None
    refund_id: UUID | None
    created_at: datetime
    updated_at: datetime


class RequestedRefund(RefundRequest):
    message: str


class OwnRequest(RefundRequest):
    """With its payment and the resulting refund."""

    amount: int
    refunded: int
    item_slug: str
    item_name: str
    refund_status: RefundStatus | None


class ListedRequest(OwnRequest):
    decided_by: str | None


class Decision(Body, json_schema_extra=example(decision="approve", amount=50_000, note="Two lessons were taken.")):
    """`amount` (minor units) amends the refund; if omitted, everything left is refunded. Refunding everything left of
    a purchase ends it, unless the enrollment is kept."""

    decision: Literal["approve", "reject"]
    keep_enrollment: Annotated[bool, Field(strict=True)] = False
    amount: Annotated[int | None, Field(strict=True, ge=1, le=10**12)] = None
    note: Annotated[str | None, Field(max_length=2000)] = None

    @model_validator(mode="after")
    def _no_amount_if_rejected(self) -> Decision:
        if self.decision == "reject" and self.amount is not None:
            raise ValueError("a rejection has no amount")
        return self


@router.post("/api/payments/request-refund", status_code=201, response_model=RequestedRefund, dependencies=IDEMPOTENT)
async def request_refund(
    request: Request, database: CurrentDatabase, body: NewRefundRequest, caller: CurrentCaller
) -> JSONResponse:
    """Requests a refund of one of the caller's payments. An admin decides."""

    async def act() -> dict[str, Any]:
        async with context_of(request).unit_of_work(buyer_of(caller)) as uow:
            added = await refund_request_service.request_refund(
                uow, caller.id, body.payment_intent_id, reason=body.reason
            )
            view = await _view(uow, added)
            message = "Your refund request was sent. An admin will decide, and you will be notified."
            return RequestedRefund(**view.model_dump(), message=message).model_dump(mode="json")

    return await once(request, database, caller=str(caller.id), act=act, status=201)


@router.get("/api/payments/refund-requests")
async def list_own_refund_requests(uow: CallerUnitOfWork, cursor: Cursor = None, limit: Limit = 50) -> Page[OwnRequest]:
    """A student's own; case managers see those of their caseload, admins all."""
    return await page_of(uow.db, _requests(), refund_requests, OwnRequest, cursor=cursor, limit=limit)


@admin_router.get("/refund-requests")
async def list_refund_requests(
    _: Admin,
    uow: CallerUnitOfWork,
    status: Annotated[RefundRequestStatus | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[ListedRequest]:
    """The refunds that students have requested."""
    wanted = _requests()
    if status is not None:
        wanted = wanted.where(refund_requests.c.status == status)
    return await page_of(uow.db, wanted, refund_requests, ListedRequest, cursor=cursor, limit=limit)


@admin_router.post("/refund-requests/{request_id}/decide", response_model=RefundRequest, dependencies=IDEMPOTENT)
async def decide_refund_request(
    request: Request, database: CurrentDatabase, request_id: UUID, body: Decision, caller: Admin
) -> JSONResponse:
    """Decides a refund request, once. An approval refunds the payment."""
    context, buyer = context_of(request), buyer_of(caller)

    async def act() -> dict[str, Any]:
        credit = 0
        if body.decision == "approve":
            async with context.unit_of_work(buyer) as uow:
                payment = await refund_request_service.payment_of_request(uow, request_id)
            credit = await readings_for_admin(context, buyer, payment, amount=body.amount, by_hand=False)
        decision = RefundDecision(
            approved=body.decision == "approve",
            amount=body.amount,
            note=body.note,
            keep_enrollment=body.keep_enrollment,
            credit=credit,
        )
        async with context.unit_of_work(buyer) as uow:
            decided = await refund_request_service.decide_request(
                uow, request_id, decision, by=f"{caller.role}:{caller.id}"
            )
            return (await _view(uow, decided)).model_dump(mode="json")

    return await once(request, database, caller=str(caller.id), act=act)


def _requests() -> Select[Any]:
    """Each with its payment and refund."""
    of_payment = ("amount", "refunded", "currency", "item_slug", "item_name")
    return (
        select(refund_requests, *(payments.c[name] for name in of_payment), refunds.c.status.label("refund_status"))
        .join(payments, payments.c.id == refund_requests.c.payment_id)
        .outerjoin(refunds, refunds.c.id == refund_requests.c.refund_id)
    )


async def _view(uow: UnitOfWork, record: RefundRequestRecord) -> RefundRequest:
    of_payment = select(payments.c.currency).where(payments.c.id == record.payment_id)
    return RefundRequest.model_validate({**asdict(record), "currency": await uow.db.scalar(of_payment)})
