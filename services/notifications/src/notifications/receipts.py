"""Receipts: one for each payment received, with its document, whichever of its references report it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from contracts.checkout import ReceiptIssued
from contracts.enrollment import EnrollmentActivated
from contracts.money import Money
from contracts.payments import PaymentFailed, PaymentPending, PaymentRefs, PaymentSucceeded
from ledger.payment import Payment
from ledger.programs import fullest
from ledger.purchase import UNDERPAID, Purchase
from ledger.standing import Standing
from notifications.co_pay import awaited_payer
from notifications.message import DeliveryDelay, Message
from notifications.payer_message import payer_message
from notifications.student_facts import PurchaseFacts

EnrollmentStatus = Literal["open", "opens", "underpaid"]
"""opens: without further action; underpaid: once the rest of the price is paid"""

_METHODS = {"us_bank_account": "bank account", "card": "card"}
_REFERENCE_KINDS = ("charge", "invoice", "payment_intent", "checkout_session", "manual")
"""The best known to payers, banks and the Stripe dashboard first."""


def receipt_messages(facts: PurchaseFacts) -> Iterator[Message]:
    """One for each payment received, whichever references report it and whenever they are linked.

    A receipt waits for its document. If none comes (checkout does not know the payment), it goes out without one.
    """
    enrollment, purchase = facts.enrollment, facts.purchase
    received = [p for p in purchase.settled_payments if p.settled and p.settled.amount > 0 and p.method != "waiver"]
    candidates = distinct_payments(received)
    documents = _documents(facts, candidates)
    for candidate in candidates:
        payment = candidate.payment
        times = [enrollment.facts.time_of(fact) for fact in payment.facts if isinstance(fact, PaymentSucceeded)]
        attached = documents[min(payment.refs)]
        yield payer_message(
            facts,
            payment,
            key=f"receipt/{min(payment.refs)}",
            template="receipt",
            delay=DeliveryDelay.NONE if attached else DeliveryDelay.DOCUMENT,
            topics=frozenset(f"receipt:{ref}" for ref in payment.refs),
            suppressed_by=frozenset(f"receipt:{ref}" for other in candidate.duplicates for ref in other.refs),
            document_ids=tuple(document.document_id for document in attached),
            context={
                "amount": payment.settled,
                "tax": payment.tax if payment.tax and payment.tax.amount > 0 else None,
                "paid_at": min(times),
                "paid_with": _paid_with(payment),
                "remaining": _remaining(facts),
                "reference": reference(payment),
                "documents": [{"kind": document.kind, "number": document.number} for document in attached],
                "payments": len(candidates),
                "installments": purchase.installments,
                **_plan_context(facts, payments=len(candidates)),
                **_enrollment_context(facts, payments=len(candidates)),
            },
        )


def _paid_with(payment: Payment) -> str | None:
    """The card or the bank account, from the charge; otherwise the method. None: no event says."""
    named = [fact.details for fact in payment.facts if isinstance(fact, PaymentSucceeded) and fact.details]
    details = fullest(named)
    if details is None:
        return payment.method.replace("_", " ").capitalize() if payment.method else None
    name = details.brand or details.bank or _METHODS.get(details.type, details.type)
    wallet = f" ({details.wallet.replace('_', ' ')})" if details.wallet else ""
    number = f" ending in {details.last4}" if details.last4 else ""
    return f"{name.replace('_', ' ').capitalize() if name.islower() else name}{number}{wallet}"


def _remaining(facts: PurchaseFacts) -> Money | None:
    """Of a plan: what is still to be paid for all of it. None: nothing, or not on record."""
    purchase, price = facts.purchase, facts.purchase.price
    if not purchase.is_plan or purchase.ended or price is None or purchase.value >= price.amount:
        return None
    return Money(amount=price.amount - purchase.value, currency=price.currency)


def _plan_context(facts: PurchaseFacts, *, payments: int) -> dict[str, bool]:
    """`counted`: whether "2 of 4" says how far the plan is. (The rest of it may have been paid in one sum.)"""
    installments = facts.purchase.installments
    if installments is None:
        return {"everything_paid": False, "counted": False}
    everything_paid = payments >= installments if facts.purchase.price is None else facts.paid_up
    return {"everything_paid": everything_paid, "counted": payments >= installments or not everything_paid}


def _enrollment_context(facts: PurchaseFacts, *, payments: int) -> dict[str, Any]:
    activated = any(isinstance(event, EnrollmentActivated) for each in facts.enrollments for event in each.history)
    status = _enrollment_status(facts, payments=payments)
    return {
        "enrollment_status": status,
        "still_due": facts.purchase.shortfall if status == "underpaid" else None,
        "awaited_payer": awaited_payer(facts.enrollment, facts.purchase) if status == "underpaid" else None,
        "pay_url": facts.pay_link,
        "welcome_follows": not activated,
    }


def _enrollment_status(facts: PurchaseFacts, *, payments: int) -> EnrollmentStatus | None:
    """What the verdict lets a receipt promise. None: nothing; a mail of its own says how the enrollment stands."""
    enrollment = facts.weakest
    verdict = enrollment.settled_verdict
    if verdict is None:
        return None
    if verdict.reason == UNDERPAID:
        return "underpaid" if facts.purchase.underpaid else None
    if verdict.standing is not Standing.ACTIVE:
        return None
    return "open" if enrollment.is_open or (enrollment.latest is None and payments > 1) else "opens"


def reference(payment: Payment) -> str:
    """What the payer can quote. A failed attempt has a charge too, but no money was received by it."""
    successful = [fact.refs for fact in payment.facts if not isinstance(fact, (PaymentFailed, PaymentPending))]
    for candidates in (successful, [fact.refs for fact in payment.facts]):
        for kind in _REFERENCE_KINDS:
            found: list[str] = [ref for refs in candidates if (ref := getattr(refs, kind))]
            if found:
                return min(found)
    raise ValueError("a payment without a reference")


@dataclass(frozen=True)
class DistinctPayment:
    """`duplicates` may be the same payment, under references that no event has linked to it yet."""

    payment: Payment
    duplicates: tuple[Payment, ...] = ()


def distinct_payments(payments: Sequence[Payment]) -> list[DistinctPayment]:
    """Counts two unlinked payments of one purchase as one while they may be the same: equal amounts, and no kind of
    reference that both have with different values. (An intent and its invoice report the same money before Stripe
    says which invoice the intent has paid.)"""
    groups: list[list[Payment]] = []
    for payment in sorted(payments, key=lambda p: (-len(_refs_by_kind(p)), min(p.refs))):
        for group in groups:
            if all(_may_be_same(payment, other) for other in group):
                group.append(payment)
                break
        else:
            groups.append([payment])
    return [DistinctPayment(first, tuple(others)) for first, *others in groups]


def _may_be_same(one: Payment, other: Payment) -> bool:
    if one.manual or other.manual or one.settled != other.settled:
        return False
    refs, others = _refs_by_kind(one), _refs_by_kind(other)
    return all(refs[kind] & others[kind] for kind in refs.keys() & others.keys())


def _refs_by_kind(payment: Payment) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for fact in payment.facts:
        for kind, ref in _single_refs(fact.refs).items():
            found[kind].add(ref)
    return found


def _single_refs(refs: PaymentRefs) -> dict[str, str]:
    """The references of which a payment has at most one, by kind."""
    found = {
        "intent": refs.payment_intent,
        "invoice": refs.invoice,
        "session": refs.checkout_session,
        "installment": refs.installment,
    }
    return {kind: ref for kind, ref in found.items() if ref}


# --- documents --------------------------------------------------------------------------------------------------------


def _documents(facts: PurchaseFacts, payments: Sequence[DistinctPayment]) -> dict[str, list[ReceiptIssued]]:
    """The payment's first reference -> the documents issued for it, by number."""
    found: dict[str, list[ReceiptIssued]] = defaultdict(list)
    issued = {document.document_id: document for document in facts.enrollment.facts.of(ReceiptIssued)}
    for document in sorted(issued.values(), key=lambda each: (each.number, str(each.document_id))):
        if payment := _payment_of(document, facts.purchase, payments):
            found[min(payment.refs)].append(document)
    return found


def _payment_of(document: ReceiptIssued, purchase: Purchase, payments: Sequence[DistinctPayment]) -> Payment | None:
    """The payment that shares a reference with the document; otherwise the purchase's only possible one."""
    for candidate in payments:
        if any(_shares_reference(document.refs, each) for each in (candidate.payment, *candidate.duplicates)):
            return candidate.payment
    if document.purchase_id not in {fact.purchase_id for fact in purchase.facts}:
        return None
    possible = [candidate.payment for candidate in payments if _may_document(document, candidate.payment)]
    return possible[0] if len(possible) == 1 else None


def _shares_reference(refs: PaymentRefs, payment: Payment) -> bool:
    installments = {fact.refs.installment for fact in payment.facts} - {None}
    return bool(refs.of_payment() & payment.refs) or refs.installment in installments


def _may_document(document: ReceiptIssued, payment: Payment) -> bool:
    manual = bool(document.refs.manual) or payment.manual
    same_kinds = _single_refs(document.refs).keys() & _refs_by_kind(payment)
    return not manual and document.amount == payment.settled and not same_kinds
