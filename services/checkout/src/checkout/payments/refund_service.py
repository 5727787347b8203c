"""Giving money back: the one door, whoever asks. The payment's row is locked while it is decided, so that what is
reserved for one refund is not there for another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import Row

from checkout.payments import domain, projection, repository
from checkout.payments.domain import Give, Origin, Paid, RefundStatus, Refuse, Way, outranked
from checkout.payments.event_handlers import PaymentsMerged, follow_again
from checkout.purchases.plans import PATIENT
from checkout.purchases.repository import lock_purchase
from checkout.stripe_client import Stripe, StripeRefund, StripeRefuses
from contracts.money import Money
from contracts.payments import PaymentRefs, PaymentRefunded
from kit.db.unit_of_work import UnitOfWork
from kit.http.errors import Problem
from kit.jobs.jobs import Job
from kit.runtime.failures import Permanent, describe

log = structlog.get_logger(__name__)

KIND = "refund"

_REFUSALS: dict[domain.Refusal, tuple[int, str]] = {
    "payment_not_succeeded": (409, "No money has come in by this payment, so none can go back."),
    "nothing_was_paid": (409, "This was waived or given away: there is no money to give back."),
    "payment_disputed": (409, "The payer's bank has this payment in its hands; it is settled there, not by a refund."),
    "refund_window_over": (409, "It is too late to refund this yourself; send a request, and an admin will decide."),
    "nothing_to_refund": (409, "All of it has gone back already, or is on its way."),
    "no_way_back": (409, "It is not known how this money came, so it cannot be sent back from here."),
    "amount_invalid": (422, "A refund is of one minor unit at the least."),
    "amount_too_large": (422, "So much is not left of this payment; see `left`."),
}


@dataclass(frozen=True, kw_only=True)
class Refund:
    """Pending: on its way to Stripe. Money that did not come by Stripe is given back by hand, and succeeded at once."""

    id: UUID
    payment_id: UUID
    amount: Money
    status: RefundStatus
    created_at: datetime


async def refund(
    uow: UnitOfWork,
    payment_id: UUID,
    amount: int | None,
    *,
    reason: str,
    origin: Origin,
    by: str,
    window: timedelta | None = None,
    id: UUID | None = None,
) -> Refund:
    """Gives back `amount` minor units of the payment (None: all that is left), in the caller's transaction.

    `window`: how long after the payment; None: at any time. `id`: of the refund, where the caller has one by which the
    same wish is known again; a refund that is there already is the answer. Locks the payment. Whoever refunds several
    in one transaction, or holds other rows of the purchase, locks the purchase first, as those do who hear of it.
    Raises Problem 404, 409 or 422.
    """
    row = await repository.lock_payment(uow.db, payment_id)
    if row is None:
        raise unknown_payment()
    if id is not None and (known := await repository.find_refund(uow.db, id)) is not None:
        return refund_of(known)
    paid = await paid_of(uow, row)
    match domain.refund(paid=paid, wanted=amount, now=uow.now, window=window):
        case Refuse(code=code):
            raise refused(code, left=paid.left, currency=row.currency)
        case Give(amount=given, way=way):
            return await _give(uow, row, given, way, id=id or uuid4(), reason=reason, origin=origin, by=by)


async def paid_of(uow: UnitOfWork, row: Row[Any]) -> Paid:
    """The payment as `domain.refund` looks at it."""
    refunds = await repository.refunds_of(uow.db, row.id)
    return Paid(
        status=row.status,
        amount=row.amount,
        refunded=row.refunded,
        reserved=sum(
            each.amount for each in refunds if not each.projection and each.status in ("pending", "succeeded")
        ),
        method=row.method,
        disputed=row.disputed,
        dispute_lost=await repository.lost_dispute(uow.db, row.id),
        paid_at=row.paid_at or row.created_at,
        way=_way(row),
    )


def refused(code: domain.Refusal, *, left: int, currency: str) -> Problem:
    status, detail = _REFUSALS[code]
    return Problem(status, code, detail, left=left, currency=currency)


def unknown_payment() -> Problem:
    return Problem(404, "unknown_payment", "There is no such payment of yours; GET /api/payments/history/customer.")


def refund_of(row: Row[Any]) -> Refund:
    return Refund(
        id=row.id,
        payment_id=row.payment_id,
        amount=Money(amount=row.amount, currency=row.currency),
        status=row.status,
        created_at=row.created_at,
    )


async def _give(
    uow: UnitOfWork, row: Row[Any], amount: int, way: Way, *, id: UUID, reason: str, origin: Origin, by: str
) -> Refund:
    values = {
        "id": id,
        "payment_id": row.id,
        "purchase_id": row.purchase_id,
        "student_id": row.student_id,
        "amount": amount,
        "currency": row.currency,
        "reason": reason,
        "origin": origin,
        "requested_by": by,
        "status": "pending" if way == "stripe" else "succeeded",
        "created_at": uow.now,
        "updated_at": uow.now,
    }
    made = refund_of(await repository.add_refund(uow.db, values))
    if way == "stripe":
        payload = {
            "refund_id": str(made.id),
            "purchase_id": str(row.purchase_id),
            "amount": amount,
            "payment_intent": row.stripe_payment_intent_id,
            "charge": row.stripe_charge_id,
            "invoice": row.stripe_invoice_id,
        }
        await uow.enqueue(KIND, key=str(made.id), payload=payload)
    else:
        event = PaymentRefunded(
            refs=PaymentRefs(manual=row.manual_id),
            purchase_id=row.purchase_id,
            student_id=row.student_id,
            refund_id=str(made.id),
            amount=made.amount,
            status="succeeded",
        )
        await uow.publish(event, id=f"refund/{made.id}/{event.type}", subject=str(row.purchase_id))
    log.info("refund", refund=str(made.id), payment=str(row.id), origin=origin, way=way)
    return made


def _way(row: Row[Any]) -> Way | None:
    if row.stripe_payment_intent_id or row.stripe_charge_id or row.stripe_invoice_id:
        return "stripe"
    return "manual" if row.manual_id else None


class RefundAtStripe:
    """One refund at Stripe, however often it is tried: under its own id as the key, and, since Stripe forgets keys
    after a day, only after a look at what is there."""

    backoff = PATIENT

    def __init__(self, stripe: Stripe, on_merged: PaymentsMerged) -> None:
        self._stripe = stripe
        self._on_merged = on_merged

    async def perform(self, job: Job) -> StripeRefund:
        """Raises StripeRefuses when it cannot be given back, for good."""
        of = await self._money_of(job)
        metadata = {name: str(job.payload[name]) for name in ("refund_id", "purchase_id")}
        if job.attempt > 1 and (made := await self._stripe.find_refund(of=of, metadata=metadata)) is not None:
            return made
        return await self._stripe.create_refund(
            of=of, amount=int(job.payload["amount"]), metadata=metadata, key=f"refund/{job.key}"
        )

    async def _money_of(self, job: Job) -> dict[str, str]:
        if intent := job.payload["payment_intent"]:
            return {"payment_intent": str(intent)}
        if charge := job.payload["charge"]:
            return {"charge": str(charge)}
        if (intent := await self._stripe.intent_of_invoice(str(job.payload["invoice"]))) is None:
            raise Permanent("no_payment_of_invoice")
        return {"payment_intent": intent}

    async def record(self, job: Job, result: StripeRefund, uow: UnitOfWork) -> None:
        status = projection.REFUND_STATUS.get(result.status, "pending")
        await self._note(job, status, result.failure, uow, stripe_refund_id=result.id)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        """Stripe does not do it: what was reserved is free again."""
        failure = error.code if isinstance(error, StripeRefuses) else describe(error)
        log.error("refund failed", refund=job.key, code=failure)
        await self._note(job, "failed", failure, uow)

    async def _note(self, job: Job, status: RefundStatus, failure: str | None, uow: UnitOfWork, **learned: str) -> None:
        """The purchase first, then the refund: as it is locked when an event is heard."""
        purchase_id = UUID(job.payload["purchase_id"])
        await lock_purchase(uow.db, purchase_id)
        row = await repository.read_refund(uow.db, UUID(job.key))
        values = {"status": outranked(row.status, status), "failure": failure, **learned}
        await repository.write_refund(uow.db, row, values, at=uow.now)
        await follow_again(uow, purchase_id, on_merged=self._on_merged)
