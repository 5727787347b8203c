"""What becomes of one amount due, written down: failures that are told, rounds that end, what is left at Stripe."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from checkout.installments import repository
from checkout.installments.domain import RETRIES, Again, ClosedBecause, GiveUp, after_attempt
from checkout.purchases.repository import program_of
from contracts.money import Money
from contracts.payments import PaymentExpired, PaymentFailed, PaymentRefs
from kit.db.unit_of_work import UnitOfWork

CLOSING = "schedule_closing"


async def failed(uow: UnitOfWork, purchase: Row[Any], row: Row[Any], *, code: str, now: datetime) -> None:
    """One attempt brought no money: it is tried again, or is overdue; whoever owes it is told. `now` is the clock's.

    What is paused, and the rest at once, is tried by nobody but its payer. (The rest is never overdue: its parts are.)
    """
    attempts = row.attempts + 1
    status, next_attempt_at = "open", None
    match after_attempt(attempts=attempts, now=now):
        case _ if row.kind == "remainder":
            pass
        case _ if row.status == "paused":
            status = "paused"
        case Again(at=at):
            next_attempt_at = at
        case GiveUp():
            status = "overdue"
    await repository.write(
        uow.db,
        row.id,
        at=uow.now,
        status=status,
        attempts=attempts,
        next_attempt_at=next_attempt_at,
        failure_code=code,
    )
    told = reference(purchase, row)
    event = PaymentFailed(
        **told,
        amount=Money(amount=row.amount, currency=row.currency),
        code=code[:100],
        attempt=attempts,
        final=status == "overdue",
        next_attempt_at=next_attempt_at,
        pay_url=row.pay_url,
    )
    await uow.publish(event, id=f"{repository.reference(row)}/{attempts}/{event.type}", subject=str(purchase.id))


async def say_nothing_owed(uow: UnitOfWork, purchase: Row[Any], row: Row[Any]) -> None:
    """Nothing is owed for this round of an overdue amount any more, so it does not pause an enrollment any longer."""
    event = PaymentExpired(**about(purchase), refs=PaymentRefs(installment=repository.reference(row)))
    await uow.publish(event, id=f"{repository.reference(row)}/{event.type}", subject=str(purchase.id))


async def close(uow: UnitOfWork, purchase: Row[Any], row: Row[Any], *, because: ClosedBecause) -> None:
    if row.status == "overdue":
        await say_nothing_owed(uow, purchase, row)
    values = {"status": "canceled", "closed_because": because, "next_attempt_at": None}
    await repository.write(uow.db, row.id, at=uow.now, **values)
    await want_ended(uow, row)


async def want_ended(uow: UnitOfWork, row: Row[Any]) -> None:
    """What was handed out to pay it with can be paid no more."""
    for kind, id in (("intent", row.stripe_payment_intent_id), ("invoice", row.stripe_invoice_id)):
        if id is not None:
            payload = {"purchase_id": str(row.purchase_id), "what": kind, "id": id}
            await uow.enqueue(CLOSING, key=id, payload=payload)


async def reopen(
    uow: UnitOfWork, purchase: Row[Any], row: Row[Any], *, now: datetime, due_at: datetime | None = None
) -> None:
    """A new round: nothing that was said of the one before speaks of it. The rest at once has no timer."""
    due = due_at or row.due_at
    await repository.write(
        uow.db,
        row.id,
        at=uow.now,
        status="open",
        closed_because=None,
        round=row.round + 1,
        attempts=0,
        due_at=due,
        next_attempt_at=None if row.kind == "remainder" else max(due, now),
        stripe_payment_intent_id=None,
        stripe_invoice_id=None,
        client_secret=None,
        pay_url=repository.pay_page(purchase, row),
        failure_code=None,
    )


async def collect_passed_over(uow: UnitOfWork, row: Row[Any], *, now: datetime) -> None:
    """The first amount waits for its payer; but once another one has opened the enrollment, nobody comes back for it."""
    waiting = row.status == "open" and row.next_attempt_at is None and row.timers == 0
    if waiting and row.kind != "remainder":
        # its payer may be just about to
        await repository.write(uow.db, row.id, at=uow.now, next_attempt_at=max(row.due_at, now + RETRIES[0]))


async def debit_failed(
    uow: UnitOfWork, purchase: Row[Any], row: Row[Any], *, failed_debits: int, now: datetime
) -> None:
    """A debit that was on its way did not come: an attempt, unless somebody had paid before it was due."""
    values: dict[str, Any] = {"failed_debits": failed_debits}
    if row.due_at > now + timedelta(seconds=1) and not row.attempts:
        if row.status != "paused":
            values |= {"status": "open", "next_attempt_at": row.due_at}
        await repository.write(uow.db, row.id, at=uow.now, **values)
        return
    await repository.write(uow.db, row.id, at=uow.now, **values)
    await failed(uow, purchase, row, code="debit_failed", now=now)


def reference(purchase: Row[Any], row: Row[Any]) -> dict[str, Any]:
    refs = PaymentRefs(
        installment=repository.reference(row),
        payment_intent=row.stripe_payment_intent_id,
        invoice=row.stripe_invoice_id,
    )
    return {**about(purchase), "refs": refs}


def about(purchase: Row[Any]) -> dict[str, Any]:
    """What every event of a purchase tells."""
    return {
        "purchase_id": purchase.id,
        "student_id": purchase.student_id,
        "program": program_of(purchase),
        "payer": purchase.payer,
        "funding_source": purchase.funding_source,
        "installments": purchase.installments,
        "price": Money(amount=purchase.amount, currency=purchase.currency),
    }
