"""Messages about payments that failed: the latest attempt of each that is still owed, and what it means. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from contracts.enrollment import EnrollmentCompleted, EnrollmentPaused, EnrollmentWithdrawn
from contracts.payments import PaymentEvent, PaymentFailed
from ledger.payment import Payment
from ledger.policy import Policy
from ledger.purchase import Standing
from notifications.installments import installments_of, names, word_of_checkout
from notifications.known import Bought, Place
from notifications.message import Hold, Message

SeatThen = Literal["closed", "open", "paused"]
"""closed: it opens as soon as something is paid; open: it stays so; paused: until this payment is paid"""

_VAGUE = frozenset({"unknown", "invoice_payment_failed", "async_payment_failed", "generic_decline", "card_declined"})
_ABANDONED = "canceled"
"""An intent that somebody closed: nobody tried to pay."""

_REASONS = {
    "insufficient_funds": "funds",
    "card_velocity_exceeded": "funds",
    "withdrawal_count_limit_exceeded": "funds",
    "expired_card": "expired",
    "invalid_expiry_month": "details",
    "invalid_expiry_year": "details",
    "incorrect_number": "details",
    "invalid_number": "details",
    "incorrect_cvc": "details",
    "invalid_cvc": "details",
    "incorrect_zip": "details",
    "authentication_required": "authentication",
    "payment_intent_authentication_failure": "authentication",
    "card_declined": "declined",
    "generic_decline": "declined",
    "do_not_honor": "declined",
    "account_closed": "account",
    "no_account": "account",
    "invalid_account_number": "account",
    "bank_account_restricted": "account",
    "debit_not_authorized": "debit",
    "payment_method_bank_account_blocked": "account",
}
"""Stripe's codes (https://docs.stripe.com/declines/codes, /payments/ach-direct-debit/blocked-bank-accounts)."""


def about_failures(bought: Bought, policy: Policy) -> Iterator[Message]:
    """The latest attempt of each payment that is owed and not on its way. What came before it is not true any more.

    An installment that checkout collects has many payments, one for each attempt. Only checkout knows what happens next,
    so its word is what is told, and what the gateway says of the same attempt is not. (But a first one by bank debit
    that comes back days later is nobody's attempt but the payer's.)
    """
    place, purchase = bought.weakest(policy), bought.purchase
    if purchase.canceled:
        return
    plan = bool(purchase.subscriptions) or (purchase.installments or 1) > 1
    begun = plan and bool(purchase.settled_payments)
    if _plan_goes_on(place, policy) if begun else _enrollment_is_wanted(place, policy):
        for payment in purchase.payments:
            attempt = latest_attempt(place, payment)
            owed = payment.settled is None and not payment.under_way and not payment.expired
            collected = names(payment) and (purchase.settled_payments or not payment.announced)
            if attempt and owed and not collected:
                enrollment = _enrollment(place, payment, policy) if begun else "closed"
                yield from _failure(bought, place, payment, attempt, enrollment)
    if _plan_goes_on(place, policy):
        yield from _installments(bought, place, policy)


def _installments(bought: Bought, place: Place, policy: Policy) -> Iterator[Message]:
    for installment in installments_of(bought.purchase):
        attempt = latest_attempt(place, installment.due)
        if not attempt or not installment.owed or not any(word_of_checkout(fact) for fact in attempt):
            continue
        if installment.due.past_due and place.standing(policy) is None:
            continue  # what it means for the enrollment is still on its way to us
        yield from _failure(bought, place, installment.due, attempt, _enrollment(place, installment.due, policy))


def page_to_pay(payments: Sequence[Payment]) -> str | None:
    """Where this can be paid, when there is one thing to pay and its invoice has a page."""
    if len(payments) != 1:
        return None
    told = [fact for fact in payments[0].facts if isinstance(fact, PaymentFailed) and fact.pay_url]
    return max(told, key=lambda fact: (fact.attempt, fact.pay_url or "")).pay_url if told else None


def missed_told(payment: Payment) -> frozenset[str]:
    """The mark of a mail about a pause that tells of the payment as well."""
    return frozenset(f"pause-tells-failure:{ref}" for ref in payment.refs | names(payment))


def cause_told(place: Place) -> frozenset[str]:
    """The mark of a mail about a pause that went out before we had heard which payment had caused it."""
    return frozenset((f"pause-tells-cause:{place.key}/{place.latest.revision}",)) if place.latest else frozenset()


def what_failed(place: Place, payment: Payment) -> dict[str, Any]:
    """What a mail says of the latest attempt."""
    facts = latest_attempt(place, payment)
    amounts = [fact.amount for fact in facts if fact.amount]
    bank_debit = Payment(_of_attempt(payment, facts)).announced
    return {
        "amount": max(amounts, key=lambda money: money.amount, default=None),
        "reason": _reason(facts, bank_debit=bank_debit),
        "bank_debit": bank_debit,
        "installment": bool(names(payment)),
    }


def _of_attempt(payment: Payment, facts: Sequence[PaymentFailed]) -> tuple[PaymentEvent, ...]:
    """Everything about the payment that was tried. (An invoice is one payment, however often it is tried.)"""
    tried = frozenset[str]().union(*(fact.refs.of_payment() for fact in facts))
    same = tuple(fact for fact in payment.facts if fact.refs.of_payment() & tried)
    return same if names(payment) and same else payment.facts


def _enrollment_is_wanted(place: Place, policy: Policy) -> bool:
    """Whoever holds the enrollment by another purchase, or is about to hear how it stands, is not told how to get one."""
    judged = place.standing(policy)
    held = judged is not None and judged[0] in (Standing.ACTIVE, Standing.PAUSED)
    return not held and not place.is_open and not isinstance(place.latest, EnrollmentPaused)


def _plan_goes_on(place: Place, policy: Policy) -> bool:
    """Not when the enrollment is gone. And when we hear of a pause before we hear of its cause, the cause is awaited."""
    judged = place.standing(policy)
    if isinstance(place.latest, EnrollmentWithdrawn) or (judged and judged[0] is Standing.WITHDRAWN):
        return False
    return not (isinstance(place.latest, EnrollmentPaused) and place.contradicted(policy))


def _enrollment(place: Place, payment: Payment, policy: Policy) -> SeatThen | None:
    """None: there is nothing about the enrollment that this payment decides."""
    judged = place.standing(policy)
    if judged and judged[0] is Standing.ACTIVE and not isinstance(place.latest, EnrollmentPaused):
        return "open"
    paused = judged and judged[0] is Standing.PAUSED and not isinstance(place.latest, EnrollmentCompleted)
    return "paused" if paused and payment.past_due and place.would_be_open([payment], policy) else None


def latest_attempt(place: Place, payment: Payment) -> list[PaymentFailed]:
    """Everything that is said of it. Attempts of an invoice are counted, those of an installment by checkout; those of
    an intent differ by their charge."""
    failed = [fact for fact in payment.facts if isinstance(fact, PaymentFailed) and fact.code != _ABANDONED]
    counted = [fact for fact in failed if word_of_checkout(fact)] or failed
    last = max((fact.attempt for fact in counted), default=0)
    facts = sorted(
        (fact for fact in counted if fact.attempt == last), key=lambda f: (place.known.time_of(f), place.known.id_of(f))
    )
    charge = next((fact.refs.charge for fact in reversed(facts) if fact.refs.charge), None)
    facts = [fact for fact in facts if fact.refs.charge in (None, charge)]
    tried = frozenset[str]().union(*(fact.refs.of_payment() for fact in facts))
    # why it failed, the gateway may know better
    return facts + [fact for fact in failed if fact not in counted and fact.refs.of_payment() & tried]


def _failure(
    bought: Bought, place: Place, payment: Payment, facts: list[PaymentFailed], enrollment: SeatThen | None
) -> Iterator[Message]:
    purchase = bought.purchase
    if enrollment == "paused" and not isinstance(place.latest, EnrollmentPaused):
        return  # enrollment says that it is
    attempt = facts[0].attempt
    retries = [fact.next_attempt_at for fact in facts if fact.next_attempt_at]
    over = payment.past_due or purchase.subscription_ended or any(fact.final for fact in facts)
    to_student = place.payer(purchase) == "student"
    told_by_pause = missed_told(payment)
    if enrollment == "paused":
        told_by_pause |= frozenset[str]().union(*(cause_told(each) for each in bought.places))
    named = names(payment)
    yield Message(
        key=f"payment-failed/{min(named or payment.refs)}/{attempt}",
        template="payment-failed",
        recipient=place.payer(purchase),
        about=place.key,
        student_id=place.student_id,
        purchase_id=purchase.id,
        contact=place.payer_contact(purchase, payment),
        hold=Hold.FAILURE,
        once=frozenset(f"payment-failed:{ref}/{attempt}" for ref in named or payment.refs),
        yields=told_by_pause if to_student and over else frozenset(),
        told={
            "program": bought.title,
            "what": bought.what,
            "slug": place.slug,
            "failed_at": min(place.known.time_of(fact) for fact in facts),
            # the student has heard of the pause already, in a mail of its own
            "enrollment": None if to_student and enrollment == "paused" else enrollment,
            "over": over,
            "next_attempt_at": None if over else max(retries, default=None),
            "pay_url": page_to_pay([payment]),
            **what_failed(place, payment),
            **place.who(purchase),
        },
    )


def _reason(facts: Sequence[PaymentFailed], *, bank_debit: bool) -> str:
    """The plainest that anyone says of this attempt."""
    codes = sorted({fact.code for fact in facts}, key=lambda code: (code in _VAGUE, code))
    known = [_REASONS[code] for code in codes if code in _REASONS]
    return known[0] if known else "returned" if bank_debit else "other"
