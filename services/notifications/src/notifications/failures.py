"""Mails about failed payments: the latest attempt of each amount that is still owed, and what it means. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

from contracts.checkout import InstallmentAnnounced
from contracts.enrollment import EnrollmentCompleted, EnrollmentPaused, EnrollmentWithdrawn
from contracts.payments import PaymentEvent, PaymentFailed
from ledger.payment import Payment
from ledger.purchase import Purchase
from ledger.standing import Standing
from notifications.enrollment import RETURNED, Enrollment, is_owed_again
from notifications.message import DeliveryDelay, Message
from notifications.payer_message import payer_message
from notifications.student_facts import PurchaseFacts, StudentFacts

EnrollmentStatus = Literal["closed", "open", "paused"]
"""closed: this payment opens it; open: it stays open; paused: until this payment is received"""

_VAGUE = frozenset({"unknown", "invoice_payment_failed", "async_payment_failed", "generic_decline", "card_declined"})
_ABANDONED = "canceled"
"""The code of an intent that was closed without an attempt to pay."""
_UNPAID = frozenset({"not_paid", "no_payment_method", "marked_uncollectible"})
"""Codes of an amount that was due and not paid: nothing was charged, so nothing was declined. (The last one is an
invoice's that somebody has given up at Stripe.)"""
NOT_FINALIZED = frozenset(
    {
        "customer_tax_location_invalid",
        "invoice_finalization_failed",
        "invoice_no_customer_line_items",
        "stripe_tax_inactive",
        "tax_id_invalid",
        "tax_id_prohibited",
        "taxes_calculation_failed",
    }
)
"""Why an invoice at Stripe stays a draft (SDK 16.1, Invoice.last_finalization_error): an admin has to correct it, and
its payer has done nothing wrong."""
AUTHENTICATION_CODES = frozenset(
    {
        "authentication_required",
        "invoice_payment_intent_requires_action",
        "payment_intent_action_required",
        "payment_intent_authentication_failure",
        "requires_action",
        "requires_confirmation",
    }
)
"""The payer has to act (https://docs.stripe.com/error-codes): later attempts with this payment method only remind."""

_REASONS = {
    "insufficient_funds": "funds",
    "card_velocity_exceeded": "funds",
    "withdrawal_count_limit_exceeded": "funds",
    "expired_card": "expired",
    "expired_payment_method": "expired",
    "invalid_expiry_month": "details",
    "invalid_expiry_year": "details",
    "incorrect_number": "details",
    "invalid_number": "details",
    "incorrect_cvc": "details",
    "invalid_cvc": "details",
    "incorrect_zip": "details",
    **dict.fromkeys(AUTHENTICATION_CODES, "authentication"),
    "card_declined": "declined",
    "generic_decline": "declined",
    "do_not_honor": "declined",
    "account_closed": "account",
    "account_number_invalid": "account",
    "bank_account_closed": "account",
    "bank_account_declined": "account",
    "bank_account_invalid_details": "account",
    "bank_account_unusable": "account",
    "routing_number_invalid": "account",
    "no_account": "account",
    "invalid_account_number": "account",
    "bank_account_restricted": "account",
    "debit_not_authorized": "debit",
    "billing_invalid_mandate": "debit",
    "payment_intent_mandate_invalid": "debit",
    "payment_method_bank_account_blocked": "account",
}
"""Stripe's codes (https://docs.stripe.com/declines/codes, /payments/ach-direct-debit/blocked-bank-accounts)."""


def failure_messages(facts: PurchaseFacts) -> Iterator[Message]:
    """The latest attempt of each payment that is owed and not processing. Earlier attempts are out of date.

    An installment that checkout collects has several payments, one for each attempt. Only checkout knows what happens
    next, so the mail follows checkout's event, and the gateway's event about the same attempt sends none. (Except for
    a first installment by bank debit that is returned days later: checkout has not started to collect then.)
    """
    enrollment, purchase = facts.weakest, facts.purchase
    if purchase.ended:
        return
    plan = bool(purchase.subscriptions or purchase.installments)
    started = plan and bool(purchase.settled_payments)
    if _plan_continues(enrollment) if started else _may_open(enrollment):
        for payment in purchase.payments:
            attempt = latest_attempt(enrollment, payment)
            owed = payment.settled is None and not payment.processing and not payment.expired
            collected = installment_refs(payment) and (purchase.settled_payments or not payment.submitted)
            if attempt and owed and not collected:
                status = _status(enrollment, payment) if started else _status_before_start(enrollment, payment)
                yield from _message(facts, enrollment, payment, attempt, status)
    if _plan_continues(enrollment):
        yield from _installment_messages(facts, enrollment)


def _installment_messages(facts: PurchaseFacts, enrollment: Enrollment) -> Iterator[Message]:
    for installment in facts.purchase.amounts_due:
        attempt = latest_attempt(enrollment, installment)
        decided = any(decides_what_follows(enrollment.facts, fact) for fact in attempt)
        if not decided or facts.paid_up or not _is_owed(installment, facts.purchase):
            continue
        if enrollment.settled_verdict is not None:
            yield from _message(facts, enrollment, installment, attempt, _status(enrollment, installment))
        elif is_unpaid(attempt):
            status = _status_before_start(enrollment, installment)
            yield from _message(facts, enrollment, installment, attempt, status)
        elif not installment.past_due:  # else the events that decide about the enrollment are still on their way
            yield from _message(facts, enrollment, installment, attempt, None)


def _is_owed(installment: Payment, purchase: Purchase) -> bool:
    """Neither paid, nor voided, nor processing."""
    processing = any(payment.processing for payment in purchase.payments if payment.refs & installment.refs)
    return installment.settled is None and not installment.voided and not processing


def installment_refs(payment: Payment) -> frozenset[str]:
    """The installments that the payment is for; empty if it is not for one that checkout collects."""
    return frozenset(f"installment:{fact.refs.installment}" for fact in payment.facts if fact.refs.installment)


def decides_what_follows(facts: StudentFacts, fact: PaymentFailed) -> bool:
    """Whether it is checkout's event: it says what happens next and where to pay. The gateway's about the same attempt
    says only that it failed. (The ids of checkout's events begin with the installment.)"""
    installment = fact.refs.installment
    if fact.code == RETURNED:
        return False  # the mail about the return says so
    if installment is None or fact.code in _UNPAID:
        return installment is not None
    if fact.pay_url is None:
        return False
    return fact.final or fact.next_attempt_at is not None or facts.id_of(fact).startswith(f"{installment}/")


def is_unpaid(attempt: Sequence[PaymentFailed]) -> bool:
    """Whether nothing was charged: the payer did not pay by the due date."""
    return any(fact.code in _UNPAID for fact in attempt)


def page_of(facts: StudentFacts, payment: Payment) -> str | None:
    """Where it can be paid: the page of its latest attempt, otherwise that of another round of the same installment."""
    own = [fact for fact in payment.facts if isinstance(fact, PaymentFailed) and fact.pay_url]
    if own:
        return max(own, key=lambda fact: (fact.attempt, fact.pay_url or "")).pay_url
    events: tuple[PaymentFailed | InstallmentAnnounced, ...]
    events = (*facts.of(PaymentFailed), *facts.of(InstallmentAnnounced))
    rounds = [
        (facts.order_of(event), event.pay_url)
        for event in events
        if event.pay_url and _installment(event) in payment.installments
    ]
    return max(rounds)[1] if rounds else None


def _installment(event: PaymentFailed | InstallmentAnnounced) -> str | None:
    """Its id, without the round."""
    reference = event.refs.installment if isinstance(event, PaymentFailed) else event.installment
    return reference.split(":")[0] if reference else None


def pause_topics(payment: Payment) -> frozenset[str]:
    """Covered by a mail about a pause that also explains this failed payment."""
    return frozenset(f"pause-explains-failure:{ref}" for ref in payment.refs | installment_refs(payment))


def pause_cause_topic(enrollment: Enrollment) -> frozenset[str]:
    """Covered by a mail about a pause that went out before its cause, a failed payment, was on record."""
    return _of_pause(enrollment, "pause-explains-cause")


def pause_return_topic(enrollment: Enrollment) -> frozenset[str]:
    """Covered by a mail about a pause that explains a returned payment, or went out before any cause was on record."""
    return _of_pause(enrollment, "pause-explains-return")


def _of_pause(enrollment: Enrollment, topic: str) -> frozenset[str]:
    if enrollment.latest is None:
        return frozenset()
    return frozenset((f"{topic}:{enrollment.key}/{enrollment.latest.revision}",))


def failure_context(enrollment: Enrollment, payment: Payment) -> dict[str, Any]:
    """Template variables about the latest attempt, or about money that was taken back after it had been received."""
    attempt = latest_attempt(enrollment, payment)
    if payment.lost or is_owed_again(payment):
        returned = all(dispute.is_return for dispute in payment.lost_disputes)
        owed = [fact.amount for fact in attempt if fact.amount]
        return {
            "amount": payment.settled or max(owed, key=lambda money: money.amount, default=None),
            "reason": "returned",
            "bank_debit": returned,
            "installment": bool(installment_refs(payment)),
            "unpaid": False,
            "taken_back": "returned" if returned else "disputed",
        }
    amounts = [fact.amount for fact in attempt if fact.amount]
    bank_debit = Payment(_facts_of_attempt(payment, attempt)).submitted
    return {
        "amount": max(amounts, key=lambda money: money.amount, default=None),
        "reason": _reason(attempt, bank_debit=bank_debit),
        "bank_debit": bank_debit,
        "installment": bool(installment_refs(payment)),
        "unpaid": is_unpaid(attempt),
        "taken_back": None,
    }


def _facts_of_attempt(payment: Payment, attempt: Sequence[PaymentFailed]) -> tuple[PaymentEvent, ...]:
    """All facts that share a reference with the attempt. (An invoice is one payment, however often it is tried.)"""
    tried = frozenset[str]().union(*(fact.refs.of_payment() for fact in attempt))
    same = tuple(fact for fact in payment.facts if fact.refs.of_payment() & tried)
    return same if installment_refs(payment) and same else payment.facts


def _may_open(enrollment: Enrollment) -> bool:
    """Not if another purchase pays for the enrollment, or a mail about a pause is about to go out."""
    paid_for = enrollment.has_standing(Standing.ACTIVE, Standing.PAUSED)
    return not paid_for and not enrollment.is_open and not isinstance(enrollment.latest, EnrollmentPaused)


def _plan_continues(enrollment: Enrollment) -> bool:
    """Not if the enrollment is withdrawn, and not while it is paused for a cause that has not arrived yet."""
    if isinstance(enrollment.latest, EnrollmentWithdrawn) or enrollment.has_standing(Standing.WITHDRAWN):
        return False
    return not (isinstance(enrollment.latest, EnrollmentPaused) and enrollment.contradicted)


def _status_before_start(enrollment: Enrollment, payment: Payment) -> EnrollmentStatus | None:
    """None: this payment alone does not open the enrollment."""
    return "closed" if enrollment.would_be_open([payment]) else None


def _status(enrollment: Enrollment, payment: Payment) -> EnrollmentStatus | None:
    """None: the enrollment does not depend on this payment."""
    if enrollment.has_standing(Standing.ACTIVE) and not isinstance(enrollment.latest, EnrollmentPaused):
        return "open"
    paused = enrollment.has_standing(Standing.PAUSED) and not isinstance(enrollment.latest, EnrollmentCompleted)
    return "paused" if paused and payment.past_due and enrollment.would_be_open([payment]) else None


def latest_attempt(enrollment: Enrollment, payment: Payment) -> list[PaymentFailed]:
    """All facts about it. Invoices number their attempts, and so does checkout for installments; the attempts of an
    intent differ by their charge."""
    facts = enrollment.facts
    no_attempt = NOT_FINALIZED | {_ABANDONED}
    failed = [fact for fact in payment.facts if isinstance(fact, PaymentFailed) and fact.code not in no_attempt]
    numbered = [fact for fact in failed if decides_what_follows(facts, fact)] or failed
    last = max((fact.attempt for fact in numbered), default=0)
    attempt = sorted((fact for fact in numbered if fact.attempt == last), key=facts.order_of)
    charge = next((fact.refs.charge for fact in reversed(attempt) if fact.refs.charge), None)
    attempt = [fact for fact in attempt if fact.refs.charge in (None, charge)]
    tried = frozenset[str]().union(*(fact.refs.of_payment() for fact in attempt))
    # the gateway's event may have a better reason
    return attempt + [fact for fact in failed if fact not in numbered and fact.refs.of_payment() & tried]


def _message(
    facts: PurchaseFacts,
    enrollment: Enrollment,
    payment: Payment,
    attempt: list[PaymentFailed],
    status: EnrollmentStatus | None,
) -> Iterator[Message]:
    purchase = facts.purchase
    if status == "paused" and not isinstance(enrollment.latest, EnrollmentPaused):
        return  # enrollment's event is still on its way
    number = attempt[0].attempt
    retries = [fact.next_attempt_at for fact in attempt if fact.next_attempt_at]
    final = payment.past_due or purchase.subscription_ended or any(fact.final for fact in attempt)
    to_student = enrollment.payer(purchase, payment) == "student"
    explained_by_pause = pause_topics(payment)
    if status == "paused":
        explained_by_pause |= frozenset[str]().union(*(pause_cause_topic(each) for each in facts.enrollments))
    installments = installment_refs(payment)
    unpaid, due_at = is_unpaid(attempt), _due_at(facts, payment)
    failed_at = min(enrollment.facts.occurred_at(fact) for fact in attempt)
    yield payer_message(
        facts,
        payment,
        enrollment=enrollment,
        key=f"payment-failed/{min(installments or payment.refs)}/{number}",
        template="payment-unpaid" if unpaid else "payment-failed",
        delay=DeliveryDelay.NEW_ATTEMPT,
        topics=frozenset(f"payment-failed:{ref}/{number}" for ref in installments or payment.refs),
        yields_to=explained_by_pause if to_student and final else frozenset(),
        context={
            "slug": enrollment.slug,
            "failed_at": failed_at,
            "due_at": due_at,
            "overdue": due_at is not None and due_at <= failed_at,
            # a student gets a separate mail about the pause
            "enrollment_status": None if to_student and status == "paused" else status,
            "final": final,
            "next_attempt_at": None if final or _is_invoiced(enrollment, purchase) else max(retries, default=None),
            "pay_url": page_of(enrollment.facts, payment) or facts.pay_link,
            **failure_context(enrollment, payment),
        },
    )


def _is_invoiced(enrollment: Enrollment, purchase: Purchase) -> bool:
    """A sponsor's invoice and a co-pay are not charged to a saved method: their payers are reminded."""
    created = enrollment.created_event(purchase)
    return created is not None and created.payer == "sponsor"


def _due_at(facts: PurchaseFacts, payment: Payment) -> datetime | None:
    """As it was announced last; otherwise of the whole purchase's invoice. None: not on record."""
    installments = {fact.refs.installment for fact in payment.facts if fact.refs.installment}
    announced = facts.enrollment.facts.of(InstallmentAnnounced)
    dates = [event.due_at for event in announced if event.installment in installments]
    created = facts.enrollment.created_event(facts.purchase)
    return dates[-1] if dates else created.due_at if created else None


def _reason(attempt: Sequence[PaymentFailed], *, bank_debit: bool) -> str:
    """The most specific reason that any event gives."""
    codes = sorted({fact.code for fact in attempt}, key=lambda code: (code in _VAGUE, code))
    found = [_REASONS[code] for code in codes if code in _REASONS]
    return found[0] if found else "returned" if bank_debit else "other"
