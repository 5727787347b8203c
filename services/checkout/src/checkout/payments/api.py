"""Payments and refunds for the students who made them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID, uuid5

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Select, select

from checkout.payments import domain, refund_service, repository
from checkout.payments.domain import PaymentRecord, PaymentStatus, Refuse
from checkout.payments.refund_service import refundable_payment, unknown_payment
from checkout.payments.tables import payments
from checkout.payments.views import Payment, PaymentDetail, PaymentState, Refund, Refundable
from checkout.purchases.dependencies import buyer_of, context_of, settings_of
from checkout.stripe_client import StripeRejected, StripeUnavailable
from kit.http.auth import Caller, CurrentCaller
from kit.http.dependencies import CallerUnitOfWork, CurrentDatabase
from kit.http.errors import Problem
from kit.http.idempotency import HEADER, IDEMPOTENT, once
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(prefix="/api/payments", tags=["payments"])

Limit = Annotated[int, Query(ge=1, le=200)]
IntentId = Annotated[str, Path(min_length=1, max_length=255)]


class RefundBody(BaseModel):
    """`amount` in minor units; if omitted, everything left is refunded."""

    model_config = ConfigDict(extra="forbid")

    amount: Annotated[int | None, Field(strict=True, ge=1, le=10**12)] = None
    reason: Annotated[str, Field(min_length=1, max_length=500)]


@router.get("/my-payments")
@router.get("/history/customer")
async def list_own_payments(
    uow: CallerUnitOfWork,
    caller: CurrentCaller,
    status: Annotated[PaymentStatus | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Payment]:
    """The caller's payments, open and paid, newest first."""
    wanted: Select[Any] = select(payments).where(payments.c.student_id == caller.id)
    if status is not None:
        wanted = wanted.where(payments.c.status == status)
    return await page_of(uow.db, wanted, payments, Payment, cursor=cursor, limit=limit)


@router.get("/status/{payment_intent_id}")
async def read_status(
    request: Request, database: CurrentDatabase, payment_intent_id: IntentId, caller: CurrentCaller
) -> PaymentState:
    """The status of the caller's payment, here and at Stripe. 404 for another student's payment."""
    async with database.transaction_of(student_id=caller.id, role=caller.role) as db:
        payment = await repository.payment_by_intent(db, payment_intent_id)
    if payment is None or payment.student_id != caller.id:
        raise unknown_payment()
    try:
        stripe_status = (await context_of(request).stripe.intent(payment_intent_id)).status
    except (StripeUnavailable, StripeRejected):
        stripe_status = None
    return PaymentState(
        payment_id=payment.id,
        payment_intent_id=payment_intent_id,
        status=payment.status,
        stripe_status=stripe_status,
        amount=payment.amount,
        currency=payment.currency,
        paid_at=payment.paid_at,
    )


@router.get("/{payment_id:uuid}")
async def read_payment(
    request: Request, uow: CallerUnitOfWork, payment_id: UUID, caller: CurrentCaller
) -> PaymentDetail:
    """One payment with its refunds: the caller's own; for staff, anyone's."""
    if (payment := await repository.read_payment(uow.db, payment_id)) is None:
        raise unknown_payment()
    refunds = await repository.refunds_of_payment(uow.db, payment_id)
    refundable = await refundable_payment(uow, payment)
    decision = domain.decide_refund(payment=refundable, requested=None, now=uow.now, window=_window(request, caller))
    return PaymentDetail(
        **asdict(payment),
        refunds=[Refund.model_validate(each, from_attributes=True) for each in refunds],
        refundable=Refundable(
            amount=refundable.left,
            allowed=_may_refund(caller, payment) and not isinstance(decision, Refuse),
            code=decision.code if isinstance(decision, Refuse) else None,
        ),
    )


@router.post("/{payment_id:uuid}/refund", status_code=201, response_model=Refund, dependencies=IDEMPOTENT)
async def refund_payment(
    request: Request, database: CurrentDatabase, payment_id: UUID, body: RefundBody, caller: CurrentCaller
) -> JSONResponse:
    """Refunds a payment in full or in part. Allowed for admins, and for the payer within the refund window. The refund
    is pending until Stripe has made it; money that did not come through Stripe is refunded by hand and only recorded
    here."""

    async def act() -> dict[str, Any]:
        async with context_of(request).unit_of_work(buyer_of(caller)) as uow:
            if (payment := await repository.read_payment(uow.db, payment_id)) is None:
                raise unknown_payment()
            if not _may_refund(caller, payment):
                raise Problem(403, "forbidden", "Only an admin, or the student who paid, can refund this payment.")
            refund = await refund_service.refund(
                uow,
                payment_id,
                body.amount,
                reason=body.reason,
                origin="admin" if caller.is_admin else "student",
                by=f"{caller.role}:{caller.id}",
                window=_window(request, caller),
                id=_refund_id(request, caller, payment_id, body),
            )
            return Refund.model_validate(refund, from_attributes=True).model_dump(mode="json")

    return await once(request, database, caller=str(caller.id), act=act, status=201)


def _refund_id(request: Request, caller: Caller, payment_id: UUID, body: RefundBody) -> UUID | None:
    """The same body with the same Idempotency-Key is the same refund, even if a crash lost the first response."""
    key = request.headers.get(HEADER)
    return None if key is None else uuid5(payment_id, f"{caller.id}/{body.model_dump_json()}/{key}")


def _may_refund(caller: Caller, payment: PaymentRecord) -> bool:
    """A student cannot refund what a sponsor paid."""
    return caller.is_admin or (payment.student_id == caller.id and payment.payer == "student")


def _window(request: Request, caller: Caller) -> timedelta | None:
    return None if caller.is_admin else timedelta(days=settings_of(request).refund_window_days)
