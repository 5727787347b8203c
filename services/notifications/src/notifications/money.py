"""Messages about money: receipts, payments that failed, refunds, links for sponsors. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from contracts.facts import Payment, Purchase
from contracts.money import Money
from contracts.payments import PaymentFailed, PaymentRefunded, PaymentSucceeded
from notifications.known import Place
from notifications.message import Hold, Message

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


def about_money(place: Place) -> Iterator[Message]:
    for purchase in place.purchases:
        yield from _receipts(place, purchase)
        yield from _failures(place, purchase)
        yield from _refunds(place, purchase)
    yield from _sponsor_links(place)


# --- receipts ---------------------------------------------------------------------------------------------------------


def _receipts(place: Place, purchase: Purchase) -> Iterator[Message]:
    """One for each payment that was received, whichever of its references say so and whenever they find each other."""
    received = [p for p in purchase.settled_payments if p.settled and p.settled.amount > 0 and p.method != "waiver"]
    for single in one_by_one(received):
        payment = single.payment
        times = [place.known.time_of(fact) for fact in payment.facts if isinstance(fact, PaymentSucceeded)]
        yield Message(
            key=f"receipt/{min(payment.refs)}",
            template="receipt",
            recipient=place.payer(purchase),
            about=place.key,
            student_id=place.student_id,
            purchase_id=purchase.id,
            contact=place.payer_contact(purchase, payment),
            hold=Hold.SETTLE,
            once=frozenset(f"receipt:{ref}" for ref in payment.refs),
            unless=frozenset(f"receipt:{ref}" for other in single.perhaps for ref in other.refs),
            told={
                "program": place.program.title,
                "amount": payment.settled,
                "paid_at": min(times),
                "method": payment.method,
                "reference": min(payment.refs),
                "payments": len(one_by_one(received)),
                "instalments": purchase.instalments,
                "payer": place.payer(purchase),
            },
        )


@dataclass(frozen=True)
class Single:
    """One payment, and what may be the same one under references that nobody has linked to it yet."""

    payment: Payment
    perhaps: tuple[Payment, ...] = ()


def one_by_one(payments: Sequence[Payment]) -> list[Single]:
    """Two unlinked payments of one purchase are taken for one as long as they may be: the same amount, and no kind of
    reference of which both have a different one. (An intent and its invoice tell the same money before Stripe says
    which invoice the intent has paid.)"""
    found: list[list[Payment]] = []
    for payment in sorted(payments, key=lambda p: (-len(_named(p)), min(p.refs))):
        for same in found:
            if all(_may_be_one(payment, other) for other in same):
                same.append(payment)
                break
        else:
            found.append([payment])
    return [Single(first, tuple(others)) for first, *others in found]


def _may_be_one(one: Payment, other: Payment) -> bool:
    if one.manual or other.manual or one.settled != other.settled:
        return False
    named, others = _named(one), _named(other)
    return not (named.keys() & others.keys())


def _named(payment: Payment) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for fact in payment.facts:
        refs = fact.refs
        for kind, ref in (
            ("intent", refs.payment_intent),
            ("invoice", refs.invoice),
            ("session", refs.checkout_session),
        ):
            if ref:
                found[kind].add(ref)
    return found


# --- payments that failed ---------------------------------------------------------------------------------------------


def _failures(place: Place, purchase: Purchase) -> Iterator[Message]:
    """One for each attempt, as long as the money has not come after all."""
    plan = bool(purchase.subscriptions) or (purchase.instalments or 1) > 1
    under_way = plan and bool(purchase.settled_payments)
    if not under_way and any(other.settled_payments for other in place.purchases):
        return
    for payment in purchase.payments:
        if payment.settled is not None:
            continue
        attempts: dict[int, list[PaymentFailed]] = defaultdict(list)
        for fact in payment.facts:
            if isinstance(fact, PaymentFailed) and fact.code != _ABANDONED:
                attempts[fact.attempt].append(fact)
        for attempt, facts in sorted(attempts.items()):
            yield _failure(place, purchase, payment, attempt, facts, under_way=under_way)


def _failure(
    place: Place, purchase: Purchase, payment: Payment, attempt: int, facts: list[PaymentFailed], *, under_way: bool
) -> Message:
    retries = [fact.next_attempt_at for fact in facts if fact.next_attempt_at]
    amounts = [fact.amount for fact in facts if fact.amount]
    final = any(fact.final for fact in facts)
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
        told={
            "program": place.program.title,
            "slug": place.slug,
            "amount": max(amounts, key=lambda money: money.amount, default=None),
            "failed_at": min(place.known.time_of(fact) for fact in facts),
            "reason": _reason(facts, bank_debit=payment.announced),
            "bank_debit": payment.announced,
            "under_way": under_way,
            "paused": under_way and final,
            "next_attempt_at": None if final else max(retries, default=None),
            "payer": place.payer(purchase),
        },
    )


def _reason(facts: Sequence[PaymentFailed], *, bank_debit: bool) -> str:
    """The plainest that anyone says of this attempt."""
    codes = sorted({fact.code for fact in facts}, key=lambda code: (code in _VAGUE, code))
    known = [_REASONS[code] for code in codes if code in _REASONS]
    return known[0] if known else "returned" if bank_debit else "other"


# --- refunds ----------------------------------------------------------------------------------------------------------


def _refunds(place: Place, purchase: Purchase) -> Iterator[Message]:
    """One for each refund. A charge tells totals, a refund tells itself: both tell the same money, in any order.

    So refunds are told apart by amount and number: of two witnesses of the same amount, the one that has seen more of
    them is right.
    """
    for payment in purchase.payments:
        facts = [fact for fact in payment.facts if isinstance(fact, PaymentRefunded)]
        steps, singles = _steps(facts), _singles(facts)
        of = payment.settled or max((f.of for f in facts if f.of), key=lambda money: money.amount, default=None)
        for amount in sorted({*steps, *singles}, key=lambda money: money.amount):
            for number in range(1, max(steps[amount], singles[amount]) + 1):
                yield Message(
                    key=f"refund/{min(payment.refs)}/{amount.amount}/{number}",
                    template="refund",
                    recipient=place.payer(purchase),
                    about=place.key,
                    student_id=place.student_id,
                    purchase_id=purchase.id,
                    contact=place.payer_contact(purchase, payment),
                    hold=Hold.SETTLE,
                    once=frozenset(f"refund:{ref}/{amount.amount}/{number}" for ref in payment.refs),
                    told={
                        "program": place.program.title,
                        "amount": amount,
                        "of": of,
                        "full": of is not None and amount == of,
                        "all_back": of is not None and payment.refunded >= of.amount,
                        "manual": payment.manual,
                        "reference": min(payment.refs),
                    },
                )


def _steps(facts: Sequence[PaymentRefunded]) -> Counter[Money]:
    """How far the charge's total went up each time; a refund that failed is taken off again."""
    totals = sorted({fact.total.amount for fact in facts if fact.total})
    counted: Counter[Money] = Counter()
    for before, total in {(f.before, f.total) for f in facts if f.total}:
        known = [each for each in totals if each < total.amount]
        step = total.amount - (before.amount if before else max(known, default=0))
        if step > 0:
            counted[Money(amount=step, currency=total.currency)] += 1
    failed = {fact.refund_id: fact.amount for fact in facts if _taken_back(fact) and fact.amount}
    return counted - Counter(failed.values())


def _singles(facts: Sequence[PaymentRefunded]) -> Counter[Money]:
    failed = {fact.refund_id for fact in facts if _taken_back(fact)}
    return Counter({f.refund_id: f.amount for f in facts if f.amount and f.refund_id not in failed}.values())


def _taken_back(fact: PaymentRefunded) -> bool:
    return fact.status in ("failed", "canceled")


# --- sponsors ---------------------------------------------------------------------------------------------------------


def _sponsor_links(place: Place) -> Iterator[Message]:
    """A sponsor is told where to pay, unless it has paid already."""
    settled = {fact.purchase_id for purchase in place.purchases if purchase.settled_payments for fact in purchase.facts}
    for created in place.created:
        if created.payer == "sponsor" and created.purchase_id not in settled:
            yield Message(
                key=f"sponsor-link/{created.purchase_id}",
                template="sponsor-link",
                recipient="sponsor",
                about=place.key,
                student_id=place.student_id,
                purchase_id=created.purchase_id,
                contact=created.payer_contact,
                told={
                    "program": created.program.title,
                    "amount": created.amount,
                    "url": created.checkout_url,
                    "funding_source": created.funding_source,
                    "expires_at": created.expires_at,
                    "reference": str(created.purchase_id),
                },
            )
