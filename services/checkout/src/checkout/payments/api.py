"""What checkout answers to those who have paid: their payments, and money back."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID, uuid5

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Select, select

from checkout.payments import domain, refund_service, repository
from checkout.payments.domain import PaymentStatus, Refuse
from checkout.payments.refund_service import paid_of, unknown_payment
from checkout.payments.tables import payments
from checkout.payments.views import Payment, PaymentDetail, PaymentState, Refund, Refundable
from checkout.purchases.dependencies import buyer_of, database_of, desk_of, settings_of
from checkout.stripe_client import StripeAway, StripeRefuses
from kit.db.database import row_dict
from kit.http.auth import Caller, CurrentCaller
from kit.http.errors import Problem
from kit.http.idempotency import HEADER, HONOURS_KEY, once
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(prefix="/api/payments", tags=["payments"])

Limit = Annotated[int, Query(ge=1, le=200)]
IntentId = Annotated[str, Path(min_length=1, max_length=255)]


class RefundWish(BaseModel):
    """`amount` in minor units; without it, all that is left."""

    model_config = ConfigDict(extra="forbid")

    amount: Annotated[int | None, Field(strict=True, ge=1, le=10**12)] = None
    reason: Annotated[str, Field(min_length=1, max_length=500)]


@router.get("/my-payments")
@router.get("/history/customer")
async def list_own_payments(
    request: Request,
    caller: CurrentCaller,
    status: Annotated[PaymentStatus | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Payment]:
    """What the caller pays and has paid, newest first."""
    wanted: Select[Any] = select(payments).where(payments.c.student_id == caller.id)
    if status is not None:
        wanted = wanted.where(payments.c.status == status)
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        return await page_of(db, wanted, payments, Payment, cursor=cursor, limit=limit)


@router.get("/status/{payment_intent_id}")
async def read_status(request: Request, payment_intent_id: IntentId, caller: CurrentCaller) -> PaymentState:
    """How the caller's payment stands, with us and at Stripe. Somebody else's is a 404."""
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        row = await repository.payment_by_intent(db, payment_intent_id)
    if row is None or row.student_id != caller.id:
        raise unknown_payment()
    try:
        stripe_status = (await desk_of(request).stripe.intent(payment_intent_id)).status
    except (StripeAway, StripeRefuses):
        stripe_status = None
    return PaymentState(
        payment_id=row.id,
        payment_intent_id=payment_intent_id,
        status=row.status,
        stripe_status=stripe_status,
        amount=row.amount,
        currency=row.currency,
        paid_at=row.paid_at,
    )


@router.get("/{payment_id:uuid}")
async def read_payment(request: Request, payment_id: UUID, caller: CurrentCaller) -> PaymentDetail:
    """One payment with its refunds: the caller's own; anybody's for staff."""
    async with desk_of(request).uow(buyer_of(caller)) as uow:
        if (row := await repository.read_payment(uow.db, payment_id)) is None:
            raise unknown_payment()
        refunds = await repository.refunds_of(uow.db, payment_id)
        paid = await paid_of(uow, row)
    may = domain.refund(paid=paid, wanted=None, now=uow.now, window=_window(request, caller))
    return PaymentDetail(
        **row_dict(row),
        refunds=[Refund.model_validate(row_dict(each)) for each in refunds],
        refundable=Refundable(
            amount=paid.left,
            allowed=_may_refund(caller, row) and not isinstance(may, Refuse),
            code=may.code if isinstance(may, Refuse) else None,
        ),
    )


@router.post("/{payment_id:uuid}/refund", status_code=201, response_model=Refund, dependencies=HONOURS_KEY)
async def refund_payment(request: Request, payment_id: UUID, wanted: RefundWish, caller: CurrentCaller) -> JSONResponse:
    """Gives money back, all that is left or a part: an admin, or who paid it, for some time. It is pending until Stripe
    has done it; money that did not come by Stripe is given back by hand, and only written down here."""

    async def act() -> dict[str, Any]:
        async with desk_of(request).uow(buyer_of(caller)) as uow:
            if (row := await repository.read_payment(uow.db, payment_id)) is None:
                raise unknown_payment()
            if not _may_refund(caller, row):
                raise Problem(403, "forbidden", "An admin refunds this, or the student who has paid it.")
            made = await refund_service.refund(
                uow,
                payment_id,
                wanted.amount,
                reason=wanted.reason,
                origin="admin" if caller.is_admin else "student",
                by=f"{caller.role}:{caller.id}",
                window=_window(request, caller),
                id=_id_of(request, caller, payment_id, wanted),
            )
            return Refund.model_validate(row_dict(await repository.read_refund(uow.db, made.id))).model_dump(
                mode="json"
            )

    return await once(request, database_of(request), caller=str(caller.id), act=act, status=201)


def _id_of(request: Request, caller: Caller, payment_id: UUID, wanted: RefundWish) -> UUID | None:
    """The same wish under the same Idempotency-Key is the same refund, even where its answer was lost in a crash."""
    key = request.headers.get(HEADER)
    return None if key is None else uuid5(payment_id, f"{caller.id}/{wanted.model_dump_json()}/{key}")


def _may_refund(caller: Caller, row: Any) -> bool:
    """A sponsor's money is not the student's to send back."""
    return caller.is_admin or (row.student_id == caller.id and row.payer == "student")


def _window(request: Request, caller: Caller) -> timedelta | None:
    return None if caller.is_admin else timedelta(days=settings_of(request).refund_window_days)
