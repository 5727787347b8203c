"""Receipts: one for each payment, with its document, whichever of its references tell of it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from contracts.checkout import ReceiptIssued
from contracts.enrollment import EnrollmentActivated
from contracts.payments import PaymentFailed, PaymentPending, PaymentRefs, PaymentSucceeded
from ledger.payment import Payment
from ledger.policy import Policy
from ledger.purchase import Standing
from notifications.known import Bought
from notifications.message import Hold, Message

_KINDS = ("charge", "invoice", "payment_intent", "checkout_session", "manual")
"""The references of a payment, the one first by which bank statements, payers and Stripe's pages know it best."""


def about_receipts(bought: Bought, policy: Policy) -> Iterator[Message]:
    """One for each payment that was received, whichever of its references say so and whenever they find each other.

    It waits for its document, and when none comes (nobody writes one for money that checkout knows nothing of), it goes
    without.
    """
    place, purchase = bought.place, bought.purchase
    received = [p for p in purchase.settled_payments if p.settled and p.settled.amount > 0 and p.method != "waiver"]
    payments = one_by_one(received)
    documents = _documents(bought, payments)
    for single in payments:
        payment = single.payment
        times = [place.known.time_of(fact) for fact in payment.facts if isinstance(fact, PaymentSucceeded)]
        mine = documents[min(payment.refs)]
        yield Message(
            key=f"receipt/{min(payment.refs)}",
            template="receipt",
            recipient=place.payer(purchase),
            about=place.key,
            student_id=place.student_id,
            purchase_id=purchase.id,
            contact=place.payer_contact(purchase, payment),
            hold=Hold.NOW if mine else Hold.DOCUMENT,
            once=frozenset(f"receipt:{ref}" for ref in payment.refs),
            unless=frozenset(f"receipt:{ref}" for other in single.perhaps for ref in other.refs),
            attached=tuple(document.document_id for document in mine),
            told={
                "program": bought.title,
                "what": bought.what,
                "amount": payment.settled,
                "tax": payment.tax if payment.tax and payment.tax.amount > 0 else None,
                "paid_at": min(times),
                "method": payment.method,
                "reference": reference(payment),
                "documents": [{"kind": document.kind, "number": document.number} for document in mine],
                "payments": len(payments),
                "installments": purchase.installments,
                "enrollment": _enrollment_after_paying(bought, policy, payments=len(payments)),
                "welcome_follows": not any(
                    isinstance(step, EnrollmentActivated) for place in bought.places for step in place.steps
                ),
                **place.who(purchase),
            },
        )


def _enrollment_after_paying(bought: Bought, policy: Policy, *, payments: int) -> Literal["open", "opens"] | None:
    """None: it is not open, or not known to be; whoever needs to know is told so in a mail of its own."""
    place = bought.weakest(policy)
    judged = place.standing(policy)
    if judged is None or judged[0] is not Standing.ACTIVE:
        return None
    return "open" if place.is_open or (place.latest is None and payments > 1) else "opens"


def reference(payment: Payment) -> str:
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
    return all(named[kind] & others[kind] for kind in named.keys() & others.keys())


def _named(payment: Payment) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for fact in payment.facts:
        for kind, ref in _by_kind(fact.refs).items():
            found[kind].add(ref)
    return found


def _by_kind(refs: PaymentRefs) -> dict[str, str]:
    """The references of which a payment has one at the most."""
    named = {
        "intent": refs.payment_intent,
        "invoice": refs.invoice,
        "session": refs.checkout_session,
        "installment": refs.installment,
    }
    return {kind: ref for kind, ref in named.items() if ref}


# --- documents --------------------------------------------------------------------------------------------------------


def _documents(bought: Bought, payments: Sequence[Single]) -> dict[str, list[ReceiptIssued]]:
    """By the payment's own key: what was written for it, by number."""
    found: dict[str, list[ReceiptIssued]] = defaultdict(list)
    issued = {document.document_id: document for document in bought.place.known.of(ReceiptIssued)}
    for document in sorted(issued.values(), key=lambda each: (each.number, str(each.document_id))):
        if payment := _payment_of(document, bought, payments):
            found[min(payment.refs)].append(document)
    return found


def _payment_of(document: ReceiptIssued, bought: Bought, payments: Sequence[Single]) -> Payment | None:
    """The one that has a reference in common with it; else the only one of the purchase which it may be about."""
    for single in payments:
        if any(_shares(document.refs, payment) for payment in (single.payment, *single.perhaps)):
            return single.payment
    if document.purchase_id not in {fact.purchase_id for fact in bought.purchase.facts}:
        return None
    may_be = [single.payment for single in payments if _may_be_of(document, single.payment)]
    return may_be[0] if len(may_be) == 1 else None


def _shares(refs: PaymentRefs, payment: Payment) -> bool:
    installments = {fact.refs.installment for fact in payment.facts} - {None}
    return bool(refs.of_payment() & payment.refs) or refs.installment in installments


def _may_be_of(document: ReceiptIssued, payment: Payment) -> bool:
    by_hand = bool(document.refs.manual) or payment.manual
    return not by_hand and document.amount == payment.settled and not (_by_kind(document.refs).keys() & _named(payment))
