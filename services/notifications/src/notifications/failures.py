"""Messages about payments that failed: the latest attempt of each that is still owed, and what it means. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from contracts.enrollment import EnrollmentCompleted, EnrollmentPaused, EnrollmentWithdrawn
from contracts.facts import Policy, Purchase, Standing
from contracts.payment import Payment
from contracts.payments import PaymentFailed
from notifications.known import Place
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


def about_failures(place: Place, policy: Policy) -> Iterator[Message]:
    """The latest attempt of each payment that is owed and not on its way. What came before it is not true any more."""
    for purchase in place.purchases:
        plan = bool(purchase.subscriptions) or (purchase.instalments or 1) > 1
        begun = plan and bool(purchase.settled_payments)
        if not (_plan_goes_on(place, policy) if begun else _seat_is_wanted(place, policy)):
            continue
        for payment in purchase.payments:
            attempt = latest_attempt(place, payment)
            seat = _seat(place, payment, policy) if begun else "closed"
            awaited = seat == "paused" and not isinstance(place.latest, EnrollmentPaused)  # enrollment says that it is
            owed = payment.settled is None and not payment.under_way and not payment.expired
            if attempt and owed and not awaited:
                yield _failure(place, purchase, payment, attempt, seat)


def page_to_pay(payments: Sequence[Payment]) -> str | None:
    """Where this can be paid, when there is one thing to pay and its invoice has a page."""
    if len(payments) != 1:
        return None
    told = [fact for fact in payments[0].facts if isinstance(fact, PaymentFailed) and fact.pay_url]
    return max(told, key=lambda fact: (fact.attempt, fact.pay_url or "")).pay_url if told else None


def missed_told(payment: Payment) -> frozenset[str]:
    """The mark of a mail about a pause that tells of the payment as well."""
    return frozenset(f"pause-tells-failure:{ref}" for ref in payment.refs)


def cause_told(place: Place) -> frozenset[str]:
    """The mark of a mail about a pause that went out before we had heard which payment had caused it."""
    return frozenset((f"pause-tells-cause:{place.key}/{place.latest.revision}",)) if place.latest else frozenset()


def what_failed(place: Place, payment: Payment) -> dict[str, Any]:
    """What a mail says of the latest attempt."""
    facts = latest_attempt(place, payment)
    amounts = [fact.amount for fact in facts if fact.amount]
    return {
        "amount": max(amounts, key=lambda money: money.amount, default=None),
        "reason": _reason(facts, bank_debit=payment.announced),
        "bank_debit": payment.announced,
    }


def _seat_is_wanted(place: Place, policy: Policy) -> bool:
    """Whoever holds the seat by another purchase, or is about to hear how it stands, is not told how to get one."""
    judged = place.standing(policy)
    held = judged is not None and judged[0] in (Standing.ACTIVE, Standing.PAUSED)
    return not held and not place.is_open and not isinstance(place.latest, EnrollmentPaused)


def _plan_goes_on(place: Place, policy: Policy) -> bool:
    """Not when the seat is gone. And when we hear of a pause before we hear of its cause, the cause is awaited."""
    judged = place.standing(policy)
    if isinstance(place.latest, EnrollmentWithdrawn) or (judged and judged[0] is Standing.WITHDRAWN):
        return False
    return not (isinstance(place.latest, EnrollmentPaused) and place.contradicted(policy))


def _seat(place: Place, payment: Payment, policy: Policy) -> SeatThen | None:
    """None: there is nothing about the seat that this payment decides."""
    judged = place.standing(policy)
    if judged and judged[0] is Standing.ACTIVE and not isinstance(place.latest, EnrollmentPaused):
        return "open"
    paused = judged and judged[0] is Standing.PAUSED and not isinstance(place.latest, EnrollmentCompleted)
    return "paused" if paused and payment.past_due and place.would_be_open([payment], policy) else None


def latest_attempt(place: Place, payment: Payment) -> list[PaymentFailed]:
    """Everything that is said of it. Attempts of an invoice are counted; those of an intent differ by their charge."""
    failed = [fact for fact in payment.facts if isinstance(fact, PaymentFailed) and fact.code != _ABANDONED]
    last = max((fact.attempt for fact in failed), default=0)
    facts = sorted(
        (fact for fact in failed if fact.attempt == last), key=lambda f: (place.known.time_of(f), place.known.id_of(f))
    )
    charge = next((fact.refs.charge for fact in reversed(facts) if fact.refs.charge), None)
    return [fact for fact in facts if fact.refs.charge in (None, charge)]


def _failure(
    place: Place, purchase: Purchase, payment: Payment, facts: list[PaymentFailed], seat: SeatThen | None
) -> Message:
    attempt = facts[0].attempt
    retries = [fact.next_attempt_at for fact in facts if fact.next_attempt_at]
    over = payment.past_due or purchase.subscription_ended or any(fact.final for fact in facts)
    to_student = place.payer(purchase) == "student"
    told_by_pause = missed_told(payment) | cause_told(place) if seat == "paused" else missed_told(payment)
    return Message(
        key=f"payment-failed/{min(payment.refs)}/{attempt}",
        template="payment-failed",
        recipient=place.payer(purchase),
        about=place.key,
        student_id=place.student_id,
        purchase_id=purchase.id,
        contact=place.payer_contact(purchase, payment),
        hold=Hold.FAILURE,
        once=frozenset(f"payment-failed:{ref}/{attempt}" for ref in payment.refs),
        yields=told_by_pause if to_student and over else frozenset(),
        told={
            "program": place.program.title,
            "slug": place.slug,
            "failed_at": min(place.known.time_of(fact) for fact in facts),
            # the student has heard of the pause already, in a mail of its own
            "seat": None if to_student and seat == "paused" else seat,
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
