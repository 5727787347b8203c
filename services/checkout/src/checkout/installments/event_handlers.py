"""Keeps installments up to date with payment events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import structlog

from checkout.installments import collection_stop, domain, guard, repository, transitions
from checkout.installments.announcements import announce
from checkout.installments.clock import ahead
from checkout.installments.domain import (
    Become,
    Close,
    DebitFailed,
    End,
    Installment,
    InstallmentFacts,
    Keep,
    OweAgain,
    Reopen,
)
from checkout.installments.jobs import enqueue_debit_result
from checkout.installments.retries import Failure
from checkout.purchases import student_repository
from checkout.purchases.domain import State
from checkout.purchases.event_fields import purchase_fields
from checkout.purchases.repository import PurchaseRow, write_received
from checkout.purchases.update import PurchaseUpdate, logged
from contracts.envelope import Envelope
from contracts.payments import (
    PaymentActionRequired,
    PaymentEvent,
    PaymentFailed,
    PaymentPending,
    PaymentRefunded,
    PaymentSucceeded,
    PurchaseAccepted,
)
from kit.db.unit_of_work import UnitOfWork
from kit.runtime.trace import cause_of
from ledger.payment import EARLIEST, Payment
from ledger.purchase import Purchase

log = structlog.get_logger(__name__)

_STEPS = 3
"""One decision can lead to another: a reopened installment may have a payment that is processing."""
_UNKNOWN = "unknown"
"""The code of a failure whose event states none."""
_STUDIES = ("active", "paused", "completed")


async def publish_connected(uow: UnitOfWork, events: Sequence[Envelope[PaymentEvent]]) -> None:
    """Publishes, with its purchase and installment, what has happened to the intent of an installment's invoice.

    Stripe copies an invoice's metadata to its own events only, so that the intent's events name no purchase. Until the
    invoice is paid, nobody else can tell whose debit is being processed.
    """
    for event in events:
        await _publish_connected(replace(uow, cause=cause_of(event)), event)


async def _publish_connected(uow: UnitOfWork, event: Envelope[PaymentEvent]) -> None:
    data = event.data
    if data.purchase_id is not None or data.refs.invoice is None:
        return
    if not isinstance(data, (PaymentPending, PaymentActionRequired)):
        return
    found = await repository.find_by_invoice(uow.db, data.refs.invoice)
    if found is None:
        return
    purchase, installment = found
    refs = data.refs.model_copy(update={"installment": installment.reference})
    fields = purchase_fields(purchase, payer=installment.payer_of(purchase.payer))
    connected = data.model_copy(update={**fields, "refs": refs})
    await uow.publish(connected, id=f"{event.id}/{installment.reference}", subject=str(purchase.id))


async def update_installments(updates: Sequence[PurchaseUpdate]) -> None:
    """Brings the purchases' installments in line with all events of them, in any order."""
    found = await repository.of_purchases(updates[0].uow.db, [each.row.id for each in updates])
    for each in updates:
        if each.row.id in found:
            with logged(each.events):
                await _update_installments(each, found[each.row.id])


async def _update_installments(update: PurchaseUpdate, installments: Sequence[Installment]) -> None:
    uow, row, purchase = update.uow, update.row, update.purchase
    facts = facts_of(row, purchase, installments)
    now = uow.now + await ahead(uow.db)
    for installment in installments:
        await update_installment(uow, row, installment, facts[installment.id], update.events, now=now)
    installments = await repository.of_purchase(uow.db, row.id)
    if purchase.settled_payments and _end(row, purchase) is None:
        for installment in installments:
            if not installment.is_co_pay:
                await transitions.collect_skipped(uow, installment, now=now)
            elif _is_new_co_pay(installment) and not domain.waits_for_sponsor(installment, installments):
                await announce(uow, await transitions.request_co_pay(uow, installment, now=now))
    await _check(uow, row, purchase, installments)


def _is_new_co_pay(installment: Installment) -> bool:
    """Whether its student has not been told of it."""
    return installment.status == "open" and installment.announced_round < installment.round


def facts_of(
    row: PurchaseRow, purchase: Purchase, installments: Sequence[Installment]
) -> Mapping[UUID, InstallmentFacts]:
    """What all events of the purchase say of each of its installments. `row`: up to date with the events."""
    end = _end(row, purchase)
    payments_of = {each.id: _payments_of(purchase, each.id) for each in installments}
    accepted = _accepted(row, purchase)
    covered = any(_is_paid(each, payments_of[each.id]) for each in installments if each.is_remainder)
    covered |= accepted >= row.amount  # an admin keeps the enrollment for free: nothing more is owed
    if row.co_pay is not None:  # accepted: what the sponsor or the student has not paid
        covered |= accepted > 0 and bool(purchase.settled_payments) and not purchase.underpaid
    refund_failed = any(
        isinstance(fact, PaymentRefunded) and fact.status in ("failed", "canceled") for fact in purchase.facts
    )
    return {
        each.id: _facts(
            each,
            payments_of[each.id],
            accepted=accepted if each.position == 1 else 0,
            end=end,
            refund_failed=refund_failed,
            covered=covered and not each.is_remainder,
        )
        for each in installments
    }


def _end(row: PurchaseRow, purchase: Purchase) -> End | None:
    """Why the purchase is over."""
    by = purchase.ended.by if purchase.ended is not None else None
    if row.canceled_at is not None or by in ("student", "school") or row.state is State.CANCELED:
        return "ended"
    if by == "dispute" or (row.state is State.WITHDRAWN and row.state_reason == "dispute_lost"):
        return "disputed"
    if row.state is State.WITHDRAWN:
        return "refunded"
    return "expired" if row.state in (State.FAILED, State.EXPIRED) else None


async def update_installment(
    uow: UnitOfWork,
    purchase: PurchaseRow,
    installment: Installment,
    facts: InstallmentFacts,
    events: Sequence[Envelope[PaymentEvent]],
    *,
    now: datetime,
) -> None:
    """`events`: the new ones; none where a row was changed by hand."""
    for _ in range(_STEPS):
        match domain.decide(installment, facts):
            case Keep():
                break
            case Become(status="processing"):
                installment = await repository.write(
                    uow.db, installment.id, at=uow.now, status="processing", next_attempt_at=None
                )
            case Become(status=status):
                installment = await _settle(uow, purchase, installment, status)
            case Close(because=because):
                installment = await transitions.close(uow, purchase, installment, because=because)
            case Reopen():
                installment = await transitions.reopen(uow, installment, now=now)
            case OweAgain():
                installment = await transitions.owe_again(uow, purchase, installment, losses=facts.losses)
            case DebitFailed(failed=failed, code=code):
                installment = await repository.write(uow.db, installment.id, at=uow.now, failed_debits=failed)
                failure = Failure(code=code, method="us_bank_account")
                installment = await transitions.debit_failed(uow, purchase, installment, failure, now=now)
    if facts.losses < installment.losses:  # an appeal was won
        installment = await repository.write(uow.db, installment.id, at=uow.now, losses=facts.losses)
    for event in events:
        if _names(event.data, installment.id):
            installment = await _note(uow, installment, event, now=now)


async def _settle(
    uow: UnitOfWork, purchase: PurchaseRow, installment: Installment, status: domain.InstallmentStatus
) -> Installment:
    if installment.status == "canceled":
        log.warning("installment paid after it was closed", installment=str(installment.id))
    if installment.status == "overdue" and installment.losses:  # an appeal was won: nothing of this round is owed
        await transitions.publish_no_longer_owed(uow, purchase, installment)
        await transitions.enqueue_close(uow, installment)
    return await repository.write(
        uow.db,
        installment.id,
        at=uow.now,
        status=status,
        closed_because=None,
        next_attempt_at=None,
        failure_code=None,
    )


async def _note(
    uow: UnitOfWork, installment: Installment, event: Envelope[PaymentEvent], *, now: datetime
) -> Installment:
    """What the event itself adds: when it was paid, or that a debit may have failed."""
    if isinstance(event.data, PaymentSucceeded) and installment.status in ("paid", "waived"):
        paid_at = event.time + (now - uow.now)  # by the clock that installments fall due by
        first = min(installment.paid_at or paid_at, paid_at)
        if first != installment.paid_at:
            return await repository.write(uow.db, installment.id, at=uow.now, paid_at=first)
    elif isinstance(event.data, PaymentFailed) and installment.status == "processing" and installment.stripe_invoice_id:
        await enqueue_debit_result(uow, installment, cause=event.id)
    return installment


async def _check(uow: UnitOfWork, row: PurchaseRow, purchase: Purchase, installments: Sequence[Installment]) -> None:
    """Stops collecting the purchase if its amounts contradict one another."""
    received = guard.received(purchase, row.currency)
    if (received.amount, received.charges) != (row.received, row.charges):
        await write_received(uow.db, row.id, received=received.amount, charges=received.charges, at=uow.now)
    found = guard.contradiction(
        received,
        price=row.amount,
        installments=installments,
        opened_without_payment=await _opened_without_payment(uow, row, purchase),
    )
    if found is not None:
        await collection_stop.stop(uow, row, found, received=received.amount)


async def _opened_without_payment(uow: UnitOfWork, row: PurchaseRow, purchase: Purchase) -> bool:
    """Whether there is an enrollment although less than what is due was ever received."""
    if not purchase.never_opened:
        return False
    enrollments = await student_repository.read_enrollments(uow.db, row.student_id, row.covers)
    return any(each.status in _STUDIES and each.purchase_id == row.id for each in enrollments)


def _accepted(row: PurchaseRow, purchase: Purchase) -> int:
    """Minor units of the price that an admin has accepted as not owed."""
    accepted = [fact.amount for fact in purchase.facts if isinstance(fact, PurchaseAccepted)]
    return max((money.amount for money in accepted if money.currency == row.currency), default=0)


def _facts(
    installment: Installment,
    payments: Sequence[Payment],
    *,
    accepted: int,
    end: End | None,
    refund_failed: bool,
    covered: bool,
) -> InstallmentFacts:
    received = [payment for payment in payments if payment.settled is not None]
    settled = [payment for payment in received if not payment.lost]
    is_paid = _is_paid(installment, payments, accepted=accepted)
    failed = [fact for payment in payments for fact in _failed_debits(payment)]
    latest = max(failed, key=lambda fact: (fact.code != _UNKNOWN, fact.as_of or EARLIEST, fact.code), default=None)
    return InstallmentFacts(
        settled=is_paid,
        waived=is_paid and all(payment.method == "waiver" for payment in settled),
        processing=any(payment.processing for payment in payments if payment.settled is None),
        losses=len(received) - len(settled),
        failed_debits=len({_attempt(fact) for fact in failed}),
        debit_code=latest.code if latest is not None else _UNKNOWN,
        end=end,
        refund_failed=refund_failed,
        covered=covered,
    )


def _failed_debits(payment: Payment) -> list[PaymentFailed]:
    """The failures of what was being processed, whichever of the two events arrived first."""
    pending = {_attempt(fact) for fact in payment.facts if isinstance(fact, PaymentPending)}
    return [fact for fact in payment.facts if isinstance(fact, PaymentFailed) and _attempt(fact) in pending]


def _attempt(fact: PaymentEvent) -> tuple[str | None, str | None]:
    return fact.refs.payment_intent, fact.refs.charge


def _payments_of(purchase: Purchase, installment_id: UUID) -> list[Payment]:
    return [each for each in purchase.payments if any(_names(fact, installment_id) for fact in each.facts)]


def _names(fact: PaymentEvent, installment_id: UUID) -> bool:
    return bool(fact.refs.installment and fact.refs.installment.startswith(f"{installment_id}:"))


def _is_paid(installment: Installment, payments: Sequence[Payment], *, accepted: int = 0) -> bool:
    """Whether all of it was received, or it was waived: an invoice can also be paid in part. `accepted`: minor units
    that are not owed of what opens the enrollment."""
    kept = [payment for payment in payments if payment.settled is not None and not payment.lost]
    if any(payment.method == "waiver" for payment in kept):
        return True
    counted = [each.value for each in kept if each.settled and each.settled.currency == installment.currency]
    return bool(kept) and sum(counted) + accepted >= installment.amount
