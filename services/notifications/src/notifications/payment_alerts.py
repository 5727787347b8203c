"""Alerts about money: what was not paid, what opened nothing, and what a student or Stripe has decided. Pure.

One for each cause: a pause yields to the alert about the payment that caused it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contracts.checkout import CollectionStopped, PaymentUnmatched
from contracts.enrollment import EnrollmentPaused
from contracts.payments import (
    PaymentDisputeClosed,
    PaymentFailed,
    PaymentFraudWarned,
    PurchaseEnded,
    PurchaseRecorded,
    SubscriptionScheduleEnded,
)
from ledger.payment import EARLIEST, Payment
from ledger.purchase import UNDERPAID
from ledger.standing import Standing
from notifications.alerts import alert, purchase_alert
from notifications.co_pay import awaited_payer
from notifications.enrollment import is_owed_again
from notifications.failures import NOT_FINALIZED, is_unpaid, latest_attempt
from notifications.message import Channel, Message
from notifications.student_facts import PurchaseFacts, StudentFacts

_CANCELED = "canceled"
"""The code of an intent that was closed without an attempt to pay."""


def payment_alerts(facts: PurchaseFacts, channels: Sequence[Channel]) -> Iterator[Message]:
    yield from _self_refund(facts, channels)
    yield from _fraud_warning(facts, channels)
    if facts.purchase.ended is None:
        yield from _failed_payments(facts, channels)
        yield from _not_finalized(facts, channels)
        yield from _paused(facts, channels)
        yield from _underpaid(facts, channels)
        yield from _schedule_released(facts, channels)


# --- not paid ---------------------------------------------------------------------------------------------------------


def _failed_payments(facts: PurchaseFacts, channels: Sequence[Channel]) -> Iterator[Message]:
    for due in facts.purchase.amounts_due:
        if _has_failed_for_good(facts, due):
            attempt = latest_attempt(facts.enrollment, due)
            sponsor = facts.enrollment.payer(facts.purchase, due) == "sponsor"
            amount = max((f.amount for f in attempt if f.amount), key=lambda money: money.amount, default=None)
            of = f"{amount}, {facts.title}" if amount else facts.title
            if is_unpaid(attempt):
                headline = f"{'Invoice' if sponsor else 'Payment'} overdue, no more reminders: {of}"
                to_do = "Contact the payer. Record money that was paid in another way, or change the due date."
            else:
                headline = f"Payment failed for good: {of}"
                to_do = "There is no automatic retry. The payer has a link to pay; contact them if nothing happens."
            topics = sorted(_failure_topic(ref) for ref in _refs(due))
            yield from purchase_alert(
                topics[0],
                "alert-payment-overdue" if due.past_due else "alert-payment-failed",
                channels,
                facts,
                topics=topics,
                headline=headline,
                details={
                    "Payer": "sponsor" if sponsor else "student",
                    "Amount": amount,
                    "Code": attempt[-1].code if attempt else None,
                    "Enrollment": "paused until it is paid" if _is_paused(facts) else None,
                    "Payment": min(_refs(due)),
                },
                to_do=to_do,
            )


def _not_finalized(facts: PurchaseFacts, channels: Sequence[Channel]) -> Iterator[Message]:
    for due in facts.purchase.amounts_due:
        codes = {f.code for f in due.facts if isinstance(f, PaymentFailed) and f.code in NOT_FINALIZED}
        if codes and due.settled is None and not due.voided:
            yield from purchase_alert(
                f"invoice-not-finalized/{min(due.refs)}",
                "alert-invoice-not-finalized",
                channels,
                facts,
                topics=[f"invoice-not-finalized/{ref}" for ref in due.refs],
                headline=f"Stripe could not finalize an invoice: {facts.title}",
                details={"Code": ", ".join(sorted(codes)), "Invoice": min(due.refs)},
                to_do="It stays a draft that nobody can pay. Correct what the code names in the Stripe Dashboard, and "
                "finalize it there.",
            )


def _has_failed_for_good(facts: PurchaseFacts, due: Payment) -> bool:
    """There is no retry, and it was neither paid since, nor waived, nor paid for by another purchase."""
    failed = [fact for fact in due.facts if isinstance(fact, PaymentFailed) and fact.final]
    if is_owed_again(due) or all(fact.code == _CANCELED for fact in failed):
        return False  # the alert about the dispute says so; or nothing was tried
    if due.past_due:
        return due in facts.purchase.past_due
    return due.settled is None and not due.expired and not facts.weakest.has_standing(Standing.ACTIVE, Standing.PAUSED)


def _refs(due: Payment) -> frozenset[str]:
    """An installment has many payments, and the same id for all of them."""
    installments = frozenset(fact.refs.installment for fact in due.facts if fact.refs.installment)
    return installments or due.refs


def _failure_topic(ref: str) -> str:
    return f"payment-failed/{ref}"


def _is_paused(facts: PurchaseFacts) -> bool:
    return any(isinstance(each.latest, EnrollmentPaused) and not each.contradicted for each in facts.enrollments)


def _paused(facts: PurchaseFacts, channels: Sequence[Channel]) -> Iterator[Message]:
    """Not of a membership that was put on hold: its student has decided that."""
    standing, reason = facts.purchase.standing(facts.enrollment.facts.policy)
    paused = [e for e in facts.enrollments if isinstance(e.latest, EnrollmentPaused) and not e.contradicted]
    if standing is not Standing.PAUSED or reason == "membership_paused" or not paused:
        return
    revisions = [f"paused/{e.latest.enrollment_id}/{e.latest.revision}" for e in paused if e.latest]
    missed = facts.purchase.past_due
    disputes = {
        fact.dispute_id for due in missed for fact in due.facts if isinstance(fact, PaymentDisputeClosed) and due.lost
    }
    explained = {_failure_topic(ref) for due in missed for ref in _refs(due)}
    yield from purchase_alert(
        min(revisions),
        "alert-enrollment-paused",
        channels,
        facts,
        topics=revisions,
        yields_to=explained | {f"dispute-closed/{id}" for id in disputes},
        headline=f"Enrollment paused: {facts.title}",
        details={"Reason": reason},
        to_do="The plan ended before everything was paid. Agree with the payer how the rest is paid."
        if reason == "plan_canceled"
        else "It opens again as soon as what is owed is paid. Contact the payer if nothing happens.",
    )


def _underpaid(facts: PurchaseFacts, channels: Sequence[Channel]) -> Iterator[Message]:
    purchase = facts.purchase
    if purchase.standing(facts.enrollment.facts.policy) != (Standing.PENDING, UNDERPAID) or purchase.id is None:
        return
    if awaited_payer(facts.enrollment, purchase) is not None:
        return  # not yet: the reminders of their invoice or co-pay have an alert of their own
    yield from purchase_alert(
        f"underpaid/{purchase.id}",
        "alert-underpaid",
        channels,
        facts,
        topics=[f"underpaid/{fact.purchase_id}" for fact in purchase.facts if fact.purchase_id],
        headline=f"Paid too little, enrollment not open: {facts.title}",
        details={
            "Price": purchase.price,
            "Due now": purchase.due,
            "Missing": purchase.shortfall,
            "Payments": ", ".join(sorted(min(payment.refs) for payment in purchase.settled_payments)),
        },
        to_do=f"Ask the payer for the rest, refund the payment, or accept it as it is: POST /api/admin/purchases/"
        f"{purchase.id}/accept. The enrollment opens then.",
    )


# --- decided elsewhere ------------------------------------------------------------------------------------------------


def _self_refund(facts: PurchaseFacts, channels: Sequence[Channel]) -> Iterator[Message]:
    ended = [fact for fact in facts.purchase.facts if isinstance(fact, PurchaseEnded) and fact.by == "student"]
    for purchase_id in sorted({str(fact.purchase_id) for fact in ended}):
        yield from purchase_alert(
            f"self-refund/{purchase_id}",
            "alert-self-refund",
            channels,
            facts,
            headline=f"A student has ended a purchase and gets the money back: {facts.title}",
            details={"Received": _amounts(facts)},
            to_do="Nothing: the refund is made automatically, the enrollment has ended, and nothing more is charged.",
        )


def _amounts(facts: PurchaseFacts) -> str | None:
    amounts = [str(payment.settled) for payment in facts.purchase.settled_payments]
    return ", ".join(sorted(amounts)) or None


def _fraud_warning(facts: PurchaseFacts, channels: Sequence[Channel]) -> Iterator[Message]:
    """Until it is refunded or disputed: Stripe's `actionable` (SDK 16.1, radar.EarlyFraudWarning)."""
    for payment in facts.purchase.payments:
        warnings = [fact for fact in payment.facts if isinstance(fact, PaymentFraudWarned)]
        latest = max(warnings, key=lambda fact: (fact.as_of or EARLIEST, not fact.actionable), default=None)
        refunded = payment.settled is not None and payment.refunded >= payment.settled.amount
        if latest is None or not latest.actionable or refunded or payment.disputes:
            continue
        yield from purchase_alert(
            f"fraud-warned/{min(payment.refs)}",
            "alert-fraud-warned",
            channels,
            facts,
            topics=[f"fraud-warned/{ref}" for ref in payment.refs],
            headline=f"The card's issuer suspects fraud: {payment.settled or 'amount unknown'}, {facts.title}",
            details={"Amount": payment.settled, "Fraud type": latest.fraud_type, "Payment": min(payment.refs)},
            to_do="Check with the student whether they made this payment. If not, refund it: that avoids a dispute.",
        )


def _schedule_released(facts: PurchaseFacts, channels: Sequence[Channel]) -> Iterator[Message]:
    """(A schedule that was canceled ends its subscription: the enrollment is paused, which has an alert of its own.)"""
    released = [f for f in facts.purchase.facts if isinstance(f, SubscriptionScheduleEnded) and f.outcome == "released"]
    if facts.purchase.subscription_ended:
        return
    for subscription in sorted({str(fact.refs.subscription) for fact in released}):
        yield from purchase_alert(
            f"schedule-released/{subscription}",
            "alert-schedule-released",
            channels,
            facts,
            headline=f"A plan at Stripe goes on charging without an end: {facts.title}",
            details={"Subscription": subscription, "Price": facts.purchase.price, "Received": _amounts(facts)},
            to_do="Its schedule was released, so Stripe charges the subscription until somebody cancels it. Cancel it "
            "in the Stripe Dashboard when everything is paid.",
        )


# --- published by checkout --------------------------------------------------------------------------------------------

_STOPPED = {
    "received_more_than_owed": "More was received than is owed.",
    "more_charges_than_installments": "It was charged more often than it has installments.",
    "opened_without_payment": "Its enrollment is open although less was received than was due.",
}
_UNMATCHED = {
    "no_student": "It names no student.",
    "no_item": "It names no item.",
    "unknown_item": "It names an item that is not in the catalog.",
    "conflicting_students": "It names several students.",
    "after_end": "It arrived after its purchase had ended.",
}


def checkout_alerts(facts: StudentFacts, channels: Sequence[Channel]) -> Iterator[Message]:
    for stopped in facts.of(CollectionStopped):
        yield from alert(
            f"collection-stopped/{facts.id_of(stopped)}",
            "alert-collection-stopped",
            channels,
            facts_key=f"purchase:{stopped.purchase_id}",
            student_id=stopped.student_id,
            purchase_id=stopped.purchase_id,
            headline="Nothing more is charged for a purchase: its amounts contradict one another",
            details={
                "Student": stopped.student_id,
                "Program": facts.title_of(stopped.purchase_id),
                "Purchase": stopped.purchase_id,
                "Why": _STOPPED[stopped.code],
                "Received": stopped.received,
                "Owed": stopped.owed,
            },
            to_do="Compare its payments with those in the Stripe Dashboard, refund what is too much, and decide "
            "whether it is to be collected again.",
        )
    recorded = any(True for _ in facts.of(PurchaseRecorded))
    for unmatched in facts.of(PaymentUnmatched):
        refs = sorted(unmatched.refs.of_payment())
        if refs and (unmatched.code == "after_end" or not recorded):
            yield from alert(
                f"payment-unmatched/{refs[0]}",
                "alert-payment-unmatched",
                channels,
                facts_key=refs[0],
                student_id=None,
                purchase_id=None,
                topics=[f"payment-unmatched/{ref}" for ref in refs],
                headline=f"Money was received that belongs to no purchase: {unmatched.amount}",
                details={"Amount": unmatched.amount, "Why": _UNMATCHED[unmatched.code], "Payment": ", ".join(refs)},
                to_do="See GET /api/admin/unmatched-payments. Assign it to a student and an item, or refund it: POST "
                "/api/admin/unmatched-payments/<id>/assign or /refund.",
            )
