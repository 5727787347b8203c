"""A student asks for money back; an admin approves, amends or rejects."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import Select, select

from checkout.payments import refund_request_service
from checkout.payments.domain import RefundStatus
from checkout.payments.refund_request_service import Verdict
from checkout.payments.tables import payments, refund_requests, refunds
from checkout.purchases.dependencies import buyer_of, database_of, desk_of
from kit.db.database import row_dict
from kit.http.auth import Admin, CurrentCaller
from kit.http.idempotency import HONOURS_KEY, once
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(tags=["payments"])
admin_router = APIRouter(prefix="/api/admin", tags=["admin"])

Limit = Annotated[int, Query(ge=1, le=200)]
Status = Literal["pending", "approved", "rejected"]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RefundAsked(Body):
    payment_intent_id: Annotated[str, Field(min_length=1, max_length=255)]
    reason: Annotated[str, Field(min_length=1, max_length=2000)]


class RefundRequest(BaseModel):
    """`decided_amount` (minor units) is what an admin has given back, which may be less than what was paid."""

    id: UUID
    payment_id: UUID
    purchase_id: UUID
    student_id: UUID
    reason: str
    status: Status
    decided_amount: int | None
    decided_at: datetime | None
    note: str | None
    refund_id: UUID | None
    created_at: datetime
    updated_at: datetime


class ListedRequest(RefundRequest):
    """With the payment that it is about, and the refund that came of it."""

    decided_by: str | None
    amount: int
    refunded: int
    currency: str
    item_slug: str
    item_name: str
    refund_status: RefundStatus | None


class Decision(Body):
    """`amount` in minor units amends what is given back; without it, all that is left."""

    decision: Literal["approve", "reject"]
    amount: Annotated[int | None, Field(strict=True, ge=1, le=10**12)] = None
    note: Annotated[str | None, Field(max_length=2000)] = None

    @model_validator(mode="after")
    def _nothing_for_a_rejection(self) -> Decision:
        if self.decision == "reject" and self.amount is not None:
            raise ValueError("a request that is rejected has no amount")
        return self


@router.post("/api/payments/request-refund", status_code=201, response_model=RefundRequest, dependencies=HONOURS_KEY)
async def request_refund(request: Request, wanted: RefundAsked, caller: CurrentCaller) -> JSONResponse:
    """Asks for a payment of the caller's own back. An admin decides."""

    async def act() -> dict[str, Any]:
        async with desk_of(request).uow(buyer_of(caller)) as uow:
            row = await refund_request_service.ask(uow, caller.id, wanted.payment_intent_id, reason=wanted.reason)
            return RefundRequest.model_validate(row_dict(row)).model_dump(mode="json")

    return await once(request, database_of(request), caller=str(caller.id), act=act, status=201)


@admin_router.get("/refund-requests")
async def list_refund_requests(
    request: Request,
    caller: Admin,
    status: Annotated[Status | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[ListedRequest]:
    of_payment = ("amount", "refunded", "currency", "item_slug", "item_name")
    wanted: Select[Any] = (
        select(refund_requests, *(payments.c[name] for name in of_payment), refunds.c.status.label("refund_status"))
        .join(payments, payments.c.id == refund_requests.c.payment_id)
        .outerjoin(refunds, refunds.c.id == refund_requests.c.refund_id)
    )
    if status is not None:
        wanted = wanted.where(refund_requests.c.status == status)
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        return await page_of(db, wanted, refund_requests, ListedRequest, cursor=cursor, limit=limit)


@admin_router.post("/refund-requests/{request_id}/decide", response_model=RefundRequest, dependencies=HONOURS_KEY)
async def decide_refund_request(request: Request, request_id: UUID, wanted: Decision, caller: Admin) -> JSONResponse:
    """Once: whoever comes second finds it decided. Approved, it is refunded like any other payment."""
    verdict = Verdict(approved=wanted.decision == "approve", amount=wanted.amount, note=wanted.note)

    async def act() -> dict[str, Any]:
        async with desk_of(request).uow(buyer_of(caller)) as uow:
            row = await refund_request_service.decide(uow, request_id, verdict, by=f"{caller.role}:{caller.id}")
            return RefundRequest.model_validate(row_dict(row)).model_dump(mode="json")

    return await once(request, database_of(request), caller=str(caller.id), act=act)
