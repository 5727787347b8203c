"""Changes to one installment that publish events or enqueue jobs: failed attempts, new rounds, closing."""

from __future__ import annotations

from datetime import datetime, timedelta

from checkout.installments import repository
from checkout.installments.domain import CO_PAY_TERM, ClosedBecause, Installment, InstallmentStatus
from checkout.installments.retries import RETRIES, Failure, GiveUp, Retry, after_failure
from checkout.purchases.event_fields import purchase_fields
from checkout.purchases.repository import PurchaseRow
from contracts.payments import PaymentExpired, PaymentFailed, PaymentRefs
from kit.db.unit_of_work import UnitOfWork

CLOSE = "installment_close"
"""The kind of job that ends an intent or an invoice at Stripe."""
RETURNED = "payment_returned"
"""The failure code of a payment that the payer's bank took back."""


async def failed(
    uow: UnitOfWork,
    purchase: PurchaseRow,
    installment: Installment,
    failure: Failure,
    *,
    now: datetime,
    follows: Retry | GiveUp | None = None,
) -> Installment:
    """Counts a failed attempt and publishes it: the installment is retried, or it is overdue. `now` is the clock's;
    `follows`: of a sponsor's invoice.

    A paused installment and the remainder are not retried: only their payer pays them. The remainder is never overdue,
    since the installments it stands for are.
    """
    attempts = installment.attempts + 1
    status: InstallmentStatus = "open"
    next_attempt_at: datetime | None = None
    match follows or after_failure(failure, attempts=attempts, now=now):
        case _ if installment.is_remainder:
            pass
        case _ if installment.status == "paused":
            status = "paused"
        case Retry(at=at):
            next_attempt_at = at
        case GiveUp():
            status = "overdue"
    written = await repository.write(
        uow.db,
        installment.id,
        at=uow.now,
        status=status,
        attempts=attempts,
        next_attempt_at=next_attempt_at,
        failure_code=failure.code,
    )
    event = _failed(uow, purchase, written)
    await uow.publish(event, id=f"{written.reference}/{attempts}/{event.type}", subject=str(purchase.id))
    return written


async def owe_again(uow: UnitOfWork, purchase: PurchaseRow, installment: Installment, *, losses: int) -> Installment:
    """The payer's bank took the payment back: the installment is overdue, in a new round, and can be paid again."""
    await enqueue_close(uow, installment)
    written = await repository.write(
        uow.db,
        installment.id,
        at=uow.now,
        status="overdue",
        round=installment.round + 1,
        losses=losses,
        attempts=1,
        next_attempt_at=None,
        **repository.without_request(installment),
        failure_code=RETURNED,
        paid_at=None,
    )
    event = _failed(uow, purchase, written)
    await uow.publish(event, id=f"{written.reference}/{RETURNED}/{event.type}", subject=str(purchase.id))
    return written


def _failed(uow: UnitOfWork, purchase: PurchaseRow, installment: Installment) -> PaymentFailed:
    return PaymentFailed(
        **purchase_fields(purchase, payer=installment.payer_of(purchase.payer)),
        as_of=uow.now,
        refs=PaymentRefs(
            installment=installment.reference,
            payment_intent=installment.stripe_payment_intent_id,
            invoice=installment.stripe_invoice_id,
        ),
        amount=installment.money,
        code=(installment.failure_code or "unknown")[:100],
        attempt=installment.attempts,
        final=installment.status == "overdue",
        next_attempt_at=installment.next_attempt_at,
        pay_url=installment.pay_page or installment.pay_url,
    )


async def publish_no_longer_owed(uow: UnitOfWork, purchase: PurchaseRow, installment: Installment) -> None:
    """Ends this round of an overdue installment, so that it no longer pauses the enrollment."""
    event = PaymentExpired(
        **purchase_fields(purchase, payer=installment.payer_of(purchase.payer)),
        as_of=uow.now,
        refs=PaymentRefs(installment=installment.reference),
    )
    await uow.publish(event, id=f"{installment.reference}/{event.type}", subject=str(purchase.id))


async def close(
    uow: UnitOfWork, purchase: PurchaseRow, installment: Installment, *, because: ClosedBecause
) -> Installment:
    if installment.status == "overdue":
        await publish_no_longer_owed(uow, purchase, installment)
    written = await repository.write(
        uow.db, installment.id, at=uow.now, status="canceled", closed_because=because, next_attempt_at=None
    )
    await enqueue_close(uow, installment)
    return written


async def enqueue_close(uow: UnitOfWork, installment: Installment) -> None:
    """Has its intent or invoice ended at Stripe, so that it cannot be paid anymore."""
    ids = (("intent", installment.stripe_payment_intent_id), ("invoice", installment.stripe_invoice_id))
    for kind, id in ids:
        if id is not None:
            payload = {"purchase_id": str(installment.purchase_id), "what": kind, "id": id}
            await uow.enqueue(CLOSE, key=id, payload=payload)


async def reopen(
    uow: UnitOfWork, installment: Installment, *, now: datetime, due_at: datetime | None = None
) -> Installment:
    """Starts a new round, to which no earlier event applies. The remainder has no timer."""
    due = due_at or installment.due_at
    return await repository.write(
        uow.db,
        installment.id,
        at=uow.now,
        status="open",
        closed_because=None,
        round=installment.round + 1,
        attempts=0,
        due_at=due,
        next_attempt_at=None if installment.is_remainder else max(due, now),
        **repository.without_request(installment),
        failure_code=None,
    )


async def request_co_pay(uow: UnitOfWork, installment: Installment, *, now: datetime) -> Installment:
    """The sponsor has paid: from now on the student owes it."""
    due = now + CO_PAY_TERM
    return await repository.write(uow.db, installment.id, at=uow.now, due_at=due, next_attempt_at=due)


async def collect_skipped(uow: UnitOfWork, installment: Installment, *, now: datetime) -> None:
    """Starts the timer of a first installment that was never paid although another one opened the enrollment: its payer
    has no reason to come back for it."""
    if installment.awaits_first_payment and not installment.is_remainder:
        at = max(installment.due_at, now + RETRIES[0])  # the payer may be paying it right now
        await repository.write(uow.db, installment.id, at=uow.now, next_attempt_at=at)


async def debit_failed(
    uow: UnitOfWork, purchase: PurchaseRow, installment: Installment, failure: Failure, *, now: datetime
) -> Installment:
    """Counts a failed bank debit as an attempt, unless it was an early payment."""
    paid_early = installment.due_at > now + timedelta(seconds=1) and not installment.attempts
    if not paid_early:
        return await failed(uow, purchase, installment, failure, now=now)
    if installment.status == "paused":
        return installment
    return await repository.write(
        uow.db, installment.id, at=uow.now, status="open", next_attempt_at=installment.due_at, failure_code=failure.code
    )
