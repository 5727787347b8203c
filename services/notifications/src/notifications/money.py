"""Messages about money: receipts, refunds, links for sponsors. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from contracts.enrollment import EnrollmentActivated
from contracts.facts import Policy, Purchase, Standing
from contracts.money import Money
from contracts.payment import Payment
from contracts.payments import PaymentFailed, PaymentPending, PaymentRefunded, PaymentSucceeded
from notifications.known import Place
from notifications.message import Hold, Message

_KINDS = ("charge", "invoice", "payment_intent", "checkout_session", "manual")
"""The references of a payment, the one first by which bank statements, payers and Stripe's pages know it best."""


def about_money(place: Place, policy: Policy) -> Iterator[Message]:
    for purchase in place.purchases:
        yield from _receipts(place, purchase, policy)
        yield from _refunds(place, purchase, policy)
    yield from _sponsor_links(place)


# --- receipts ---------------------------------------------------------------------------------------------------------


def _receipts(place: Place, purchase: Purchase, policy: Policy) -> Iterator[Message]:
    """One for each payment that was received, whichever of its references say so and whenever they find each other."""
    received = [p for p in purchase.settled_payments if p.settled and p.settled.amount > 0 and p.method != "waiver"]
    payments = one_by_one(received)
    for single in payments:
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
                "reference": _reference(payment),
                "payments": len(payments),
                "instalments": purchase.instalments,
                "seat": _seat_after_paying(place, policy, payments=len(payments)),
                "welcome_follows": not any(isinstance(step, EnrollmentActivated) for step in place.steps),
                **place.who(purchase),
            },
        )


def _seat_after_paying(place: Place, policy: Policy, *, payments: int) -> Literal["open", "opens"] | None:
    """None: it is not open, or not known to be; whoever needs to know is told so in a mail of its own."""
    judged = place.standing(policy)
    if judged is None or judged[0] is not Standing.ACTIVE:
        return None
    return "open" if place.is_open or (place.latest is None and payments > 1) else "opens"


def _reference(payment: Payment) -> str:
    """What a payer can quote. An attempt that failed has a charge, too, but no money came by it."""
    kept = [fact.refs for fact in payment.facts if not isinstance(fact, (PaymentFailed, PaymentPending))]
    every = [fact.refs for fact in payment.facts]
    for some in (kept, every):
        for kind in _KINDS:
            named: list[str] = [ref for refs in some if (ref := getattr(refs, kind))]
            if named:
                return min(named)
    raise ValueError("a payment without a reference")


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


# --- refunds ----------------------------------------------------------------------------------------------------------


def _refunds(place: Place, purchase: Purchase, policy: Policy) -> Iterator[Message]:
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
                        "seat_stays": _seat_stays(purchase, payment, policy),
                        "reference": _reference(payment),
                        **place.who(purchase),
                    },
                )


def _seat_stays(purchase: Purchase, payment: Payment, policy: Policy) -> bool:
    """Whether what has gone back so far takes the seat away from nobody."""
    if not policy.full_refund_withdraws:
        return True
    return payment.settled is not None and not purchase.all_back


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
    """A sponsor is told where to pay, unless it has paid, is paying, or the page is closed."""
    done = {
        fact.purchase_id
        for purchase in place.purchases
        if any(p.settled is not None or p.under_way or p.expired for p in purchase.payments)
        for fact in purchase.facts
    }
    for created in place.created:
        if created.payer == "sponsor" and created.purchase_id not in done:
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
                    "payer": "sponsor",
                    "student": place.student_name,
                    "student_id": str(place.student_id),
                },
            )
