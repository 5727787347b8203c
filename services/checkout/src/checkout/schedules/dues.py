"""What becomes of one amount due, written down: failures that are told, rounds that end, what is left at Stripe."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from checkout.buying.store import program_of
from checkout.schedules import store
from checkout.schedules.domain import Again, ClosedBecause, GiveUp, after_attempt
from contracts.money import Money
from contracts.payments import PaymentExpired, PaymentFailed, PaymentRefs
from kit.work import Work

CLOSING = "schedule_closing"


async def failed(work: Work, purchase: Row[Any], row: Row[Any], *, code: str, now: datetime) -> None:
    """One attempt brought no money: it is tried again, or is overdue; whoever owes it is told. `now` is the clock's."""
    attempts = row.attempts + 1
    next_attempt_at: datetime | None = None
    match after_attempt(attempts=attempts, now=now):
        case Again(at=at):
            status, next_attempt_at = "open", at
        case GiveUp():
            status = "overdue"
    await store.write(
        work.db,
        row.id,
        at=work.now,
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
        final=next_attempt_at is None,
        next_attempt_at=next_attempt_at,
        pay_url=row.pay_url,
    )
    await work.say(event, id=f"{store.reference(row)}/{attempts}/{event.type}", subject=str(purchase.id))


async def say_nothing_owed(work: Work, purchase: Row[Any], row: Row[Any]) -> None:
    """Nothing is owed for this round of an overdue amount any more, so it does not pause a seat any longer."""
    event = PaymentExpired(**about(purchase), refs=PaymentRefs(instalment=store.reference(row)))
    await work.say(event, id=f"{store.reference(row)}/{event.type}", subject=str(purchase.id))


async def close(work: Work, purchase: Row[Any], row: Row[Any], *, because: ClosedBecause) -> None:
    if row.status == "overdue":
        await say_nothing_owed(work, purchase, row)
    values = {"status": "cancelled", "closed_because": because, "next_attempt_at": None}
    await store.write(work.db, row.id, at=work.now, **values)
    await want_ended(work, row)


async def want_ended(work: Work, row: Row[Any]) -> None:
    """What was handed out to pay it with can be paid no more."""
    for kind, id in (("intent", row.stripe_payment_intent_id), ("invoice", row.stripe_invoice_id)):
        if id is not None:
            payload = {"purchase_id": str(row.purchase_id), "what": kind, "id": id}
            await work.want(CLOSING, key=id, payload=payload)


async def reopen(work: Work, row: Row[Any], *, now: datetime, due_at: datetime | None = None) -> None:
    """A new round: nothing that was said of the one before speaks of it."""
    due = due_at or row.due_at
    await store.write(
        work.db,
        row.id,
        at=work.now,
        status="open",
        closed_because=None,
        round=row.round + 1,
        attempts=0,
        due_at=due,
        next_attempt_at=max(due, now),
        stripe_payment_intent_id=None,
        stripe_invoice_id=None,
        client_secret=None,
        failure_code=None,
    )


async def debit_failed(work: Work, purchase: Row[Any], row: Row[Any], *, failed_debits: int, now: datetime) -> None:
    """A debit that was on its way did not come: an attempt, unless somebody had paid before it was due."""
    values: dict[str, Any] = {"failed_debits": failed_debits}
    if row.due_at > now + timedelta(seconds=1) and not row.attempts:
        await store.write(work.db, row.id, at=work.now, status="open", next_attempt_at=row.due_at, **values)
        return
    await store.write(work.db, row.id, at=work.now, **values)
    await failed(work, purchase, row, code="debit_failed", now=now)


def reference(purchase: Row[Any], row: Row[Any]) -> dict[str, Any]:
    refs = PaymentRefs(
        instalment=store.reference(row),
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
        "instalments": purchase.instalments,
        "price": Money(amount=purchase.amount, currency=purchase.currency),
    }
