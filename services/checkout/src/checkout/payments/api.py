"""Payments and refunds for the students who made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID, uuid4, uuid5

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Select, select

from checkout.payments import domain, repository
from checkout.payments.domain import (
    Approve,
    ApproveAll,
    PaymentRecord,
    PaymentStatus,
    RefundRecord,
    Refuse,
    RefuseSelfRefund,
)
from checkout.payments.refund_readings import readings_for_admin
from checkout.payments.refund_service import AdminRefund, refund_by_admin, refundable_payment, unknown_payment
from checkout.payments.self_refund_service import SelfRefundService, policy_of, refundable_purchase
from checkout.payments.tables import payments
from checkout.payments.views import (
    MadeRefund,
    OwnPayments,
    Payment,
    PaymentDetail,
    PaymentState,
    Refund,
    Refundable,
    word_of,
)
from checkout.purchases.context import Buyer, CheckoutContext
from checkout.purchases.dependencies import buyer_of, context_of
from checkout.purchases.repository import PurchaseRow, read_row
from checkout.stripe_client import StripeRejected, StripeUnavailable
from kit.db.unit_of_work import UnitOfWork
from kit.http.auth import Caller, CurrentCaller
from kit.http.dependencies import CallerUnitOfWork, CurrentDatabase
from kit.http.idempotency import HEADER, IDEMPOTENT, once
from kit.http.openapi import example
from kit.http.paging import Cursor, Page, page_of
from kit.http.problems import FORBIDDEN

router = APIRouter(prefix="/api/payments", tags=["payments"])

Limit = Annotated[int, Query(ge=1, le=200)]
IntentId = Annotated[str, Path(min_length=1, max_length=255)]


class RefundBody(BaseModel, json_schema_extra=example(amount=57_500, reason="The course was canceled.")):
    """`amount` in minor units; if omitted, everything left is refunded. The other two are for admins."""

    model_config = ConfigDict(extra="forbid")

    amount: Annotated[int | None, Field(strict=True, ge=1, le=10**12)] = None
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    keep_enrollment: Annotated[bool, Field(strict=True, description="a full refund does not end the purchase")] = False
    by_hand: Annotated[
        bool, Field(strict=True, description="an invoice was paid outside Stripe; the money is returned by hand")
    ] = False


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


@router.get("/my-payments")
async def list_my_payments(
    uow: CallerUnitOfWork,
    caller: CurrentCaller,
    status: Annotated[PaymentStatus | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> OwnPayments:
    """The same list; `payments` is a shorter form of it."""
    page = await list_own_payments(uow, caller, status, cursor, limit)
    return OwnPayments(items=page.items, next=page.next)


@router.get("/status/{payment_intent_id}")
async def read_payment_status(
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
    refunded = domain.refund_standing(amount=payment.amount, refunded=payment.refunded)
    return PaymentState(
        payment_id=payment.id,
        payment_intent_id=payment_intent_id,
        status=word_of(payment.status, refunded),
        stripe_status=stripe_status,
        refund_status=refunded,
        amount=payment.amount,
        currency=payment.currency,
        track=payment.item_slug if payment.item_kind == "track" else None,
        paid_at=payment.paid_at,
        created_at=payment.created_at,
    )


@router.get("/{payment_id:uuid}")
async def read_payment(
    request: Request, uow: CallerUnitOfWork, payment_id: UUID, caller: CurrentCaller
) -> PaymentDetail:
    """One payment with its refunds: the caller's own; for case managers, their caseload's; for admins, anyone's.
    (Credit at Stripe, which a student's refund is reduced by, is not read here.)"""
    if (payment := await repository.read_payment(uow.db, payment_id)) is None:
        raise unknown_payment()
    refunds = await repository.refunds_of_payment(uow.db, payment_id)
    return PaymentDetail(
        **asdict(payment),
        refunds=[Refund.model_validate(each, from_attributes=True) for each in refunds],
        refundable=await _refundable(request, uow, payment, caller),
    )


@router.post("/{payment_id:uuid}/refund", status_code=201, response_model=MadeRefund, dependencies=IDEMPOTENT)
async def refund_payment(
    request: Request, database: CurrentDatabase, payment_id: UUID, body: RefundBody, caller: CurrentCaller
) -> JSONResponse:
    """Refunds a payment, in full or in part, for an admin. Refunding everything left of a purchase ends it, unless the
    enrollment is kept.

    For the student who paid, refunds the whole purchase, all its payments together, and ends it: within the refund
    window, before the course is completed or too much of it is done, and less any credit that a change of the
    membership has granted. All else is a refund request.

    The refund is pending until Stripe has made it; money that did not come through Stripe is refunded by hand and only
    recorded here.
    """
    context, buyer = context_of(request), buyer_of(caller)
    id = _refund_id(request, caller, payment_id, body)

    async def act() -> dict[str, Any]:
        async with context.unit_of_work(buyer) as uow:
            payment = await repository.read_payment(uow.db, payment_id)
            purchase = None if payment is None else await read_row(uow.db, payment.purchase_id)
        if payment is None:
            raise unknown_payment()
        if caller.is_admin:
            return await _refund_by_admin(context, buyer, payment, body, id)
        if not _is_own(caller, purchase):
            raise FORBIDDEN("Only an admin, or the student who paid, can refund this payment.")
        if body.keep_enrollment or body.by_hand:
            raise FORBIDDEN("Only an admin can send `keep_enrollment` or `by_hand`.")
        made = await SelfRefundService(context, buyer).refund(payment_id, body.amount, reason=body.reason, id=id)
        return _made(made.refunds, ended=True, credit=made.credit)

    return await once(request, database, caller=str(caller.id), act=act, status=201)


async def _refund_by_admin(
    context: CheckoutContext, buyer: Buyer, payment: PaymentRecord, body: RefundBody, id: UUID
) -> dict[str, Any]:
    credit = await readings_for_admin(context, buyer, payment, amount=body.amount, by_hand=body.by_hand)
    asked = AdminRefund(
        amount=body.amount,
        reason=body.reason,
        by=buyer.actor,
        credit=credit,
        channel="manual" if body.by_hand else None,
        keep_enrollment=body.keep_enrollment,
    )
    async with context.unit_of_work(buyer) as uow:
        refund, ended = await refund_by_admin(uow, payment.id, asked, origin="admin", id=id)
    return _made([refund], ended=ended, credit=credit)


def _made(refunds: Sequence[RefundRecord], *, ended: bool, credit: int) -> dict[str, Any]:
    views = [Refund.model_validate(each, from_attributes=True) for each in refunds]
    made = MadeRefund(**views[0].model_dump(), purchase_ended=ended, credit_deducted=credit, refunds=views)
    return made.model_dump(mode="json")


def _refund_id(request: Request, caller: Caller, payment_id: UUID, body: RefundBody) -> UUID:
    """The same body with the same Idempotency-Key is the same refund, even if a crash lost the first response."""
    key = request.headers.get(HEADER)
    return uuid4() if key is None else uuid5(payment_id, f"{caller.id}/{body.model_dump_json()}/{key}")


async def _refundable(request: Request, uow: UnitOfWork, payment: PaymentRecord, caller: Caller) -> Refundable:
    decision: Approve | Refuse | ApproveAll | RefuseSelfRefund
    purchase = None if caller.is_admin else await read_row(uow.db, payment.purchase_id)
    if purchase is not None and _is_own(caller, purchase):
        whole = await refundable_purchase(uow, purchase, credit=0)
        policy = policy_of(context_of(request))
        decision = domain.decide_self_refund(purchase=whole, requested=None, now=uow.now, policy=policy)
        left, may = whole.left, True
    else:
        refundable = await refundable_payment(uow, payment)
        decision = domain.decide_refund(payment=refundable, requested=None)
        left, may = refundable.left, caller.is_admin
    code = decision.code if isinstance(decision, (Refuse, RefuseSelfRefund)) else None
    return Refundable(amount=left, allowed=may and code is None, code=code)


def _is_own(caller: Caller, purchase: PurchaseRow | None) -> bool:
    """A student cannot refund what a sponsor paid, and with a co-pay they would: everything is refunded together."""
    return purchase is not None and purchase.student_id == caller.id and purchase.payer == "student"
