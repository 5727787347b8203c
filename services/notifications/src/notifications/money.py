"""Messages about money: refunds, links for sponsors. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from contracts.checkout import PurchaseCreated
from contracts.money import Money
from contracts.payments import PaymentRefunded, PurchaseCanceled
from ledger.payment import Payment
from ledger.policy import Policy
from ledger.purchase import Purchase
from notifications.known import Bought, Known
from notifications.message import Hold, Message
from notifications.receipts import reference


def about_refunds(bought: Bought, policy: Policy) -> Iterator[Message]:
    """One for each refund. A charge tells totals, a refund tells itself: both tell the same money, in any order.

    So refunds are told apart by amount and number: of two witnesses of the same amount, the one that has seen more of
    them is right.
    """
    place, purchase = bought.place, bought.purchase
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
                        "program": bought.title,
                        "what": bought.what,
                        "amount": amount,
                        "of": of,
                        "full": of is not None and amount == of,
                        "all_back": of is not None and payment.refunded >= of.amount,
                        "manual": payment.manual,
                        "enrollment_stays": _enrollment_stays(purchase, payment, policy),
                        "reference": reference(payment),
                        **place.who(purchase),
                    },
                )


def _enrollment_stays(purchase: Purchase, payment: Payment, policy: Policy) -> bool:
    """Whether what has gone back so far takes the enrollment away from nobody."""
    if not policy.full_refund_withdraws:
        return True
    return payment.settled is not None and not purchase.fully_refunded


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


def sponsor_links(known: Known) -> Iterator[Message]:
    """A sponsor is told where to pay, unless it has paid, is paying, the page is closed, or the school has ended it."""
    done = {
        fact.purchase_id
        for bought in known.bought
        if any(p.settled is not None or p.under_way or p.expired for p in bought.purchase.payments)
        for fact in bought.purchase.facts
    } | {canceled.purchase_id for canceled in known.of(PurchaseCanceled)}
    for created in known.of(PurchaseCreated):
        if created.payer == "sponsor" and created.purchase_id not in done:
            place = known.places_of(created.purchase_id)[0]
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
                    "what": "enrollments" if len(created.program.parts) > 1 else place.what,
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
