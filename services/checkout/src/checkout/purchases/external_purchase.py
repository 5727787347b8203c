"""Whose money a payment is that was not started here, and what it pays for. Pure: the events and the catalog's item in,
the purchase that they make out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from checkout.catalog.item import Item
from checkout.purchases.domain import PLAN_INSTALLMENTS, Interval, PurchaseRequest
from contracts.money import Money
from contracts.payments import (
    PaymentEvent,
    PaymentExpired,
    PaymentFailed,
    PaymentRefs,
    PaymentSucceeded,
    PurchaseRecorded,
    SubscriptionChanged,
)
from contracts.people import Payer, Program, purchase_uuid
from ledger.payment import Payment
from ledger.programs import described_best, programs_of
from ledger.purchase import Purchase

UnmatchedCode = Literal["no_student", "no_item", "unknown_item", "conflicting_students"]

MOST_MONTHS = 12
"""A plan that does not state its number of installments is taken for one of at most a year: less than a twelfth of the
price each month is underpaid."""
MOMENT = timedelta(microseconds=1)
UNKNOWN_SPONSOR = "UNKNOWN"
"""The funding source of a sponsor's payment that states none."""

_ATTEMPT = (PaymentFailed, PaymentExpired)
_NEVER_STARTED = ("incomplete", "incomplete_expired")


@dataclass(frozen=True, kw_only=True)
class Named:
    """What the events name. `code`: why the student or the program is None. `sponsor`: a sponsor's funding source."""

    student_id: UUID | None
    program: Program | None
    tier: str | None
    sponsor: str | None
    code: UnmatchedCode | None


def is_received(purchase: Purchase) -> bool:
    """Whether money was received or is on its way, or a subscription will collect it. Later events change nothing of
    that, so it does not depend on their order."""
    if purchase.settled_payments or any(payment.submitted for payment in purchase.payments):
        return True
    return any(isinstance(fact, SubscriptionChanged) and fact.status not in _NEVER_STARTED for fact in purchase.facts)


def named_by(purchase: Purchase) -> Named:
    """By Stripe's events alone, without our own record of it. An attempt that failed decides nothing."""
    stated = stated_facts(purchase)
    received = [fact for fact in _facts_of(purchase.settled_payments) if fact in stated]
    students = _students(received) or _students(stated)
    programs = programs_of(received) or programs_of(stated)
    sponsors = {fact.funding_source or UNKNOWN_SPONSOR for fact in stated if fact.funding_source or _by_sponsor(fact)}
    tiers = [fact.tier for fact in stated if isinstance(fact, SubscriptionChanged) and fact.tier]
    code: UnmatchedCode | None = None if programs else "no_item"
    if len(students) != 1:
        code = "conflicting_students" if students else "no_student"
    return Named(
        student_id=min(students) if len(students) == 1 else None,
        program=described_best(programs, programs),
        tier=max(tiers, default=None),
        sponsor=min(sponsors - {UNKNOWN_SPONSOR} or sponsors, default=None),
        code=code,
    )


def stated_facts(purchase: Purchase) -> list[PaymentEvent]:
    return [fact for fact in purchase.facts if not isinstance(fact, (PurchaseRecorded, *_ATTEMPT))]


def _facts_of(payments: Iterable[Payment]) -> Iterator[PaymentEvent]:
    return (fact for payment in payments for fact in payment.facts)


def _students(facts: Iterable[PaymentEvent]) -> frozenset[UUID]:
    return frozenset(fact.student_id for fact in facts if fact.student_id)


def _by_sponsor(fact: PaymentEvent) -> bool:
    return fact.payer == "sponsor"


def request_of(
    purchase: Purchase,
    item: Item,
    student_id: UUID,
    *,
    sponsor: str | None,
    list_price: Money | None = None,
) -> PurchaseRequest:
    """The purchase that the events make. `sponsor`: the code of the one that pays, if a sponsor does. `list_price`: as
    it was recorded before; None: the catalog's for this payer."""
    largest = _largest(purchase)
    interval: Interval | None = None
    if item.kind == "membership":
        interval = "year" if item.annual is not None and largest >= item.annual.amount else "month"
    price = list_price or price_for(item, payer="sponsor" if sponsor else "student", interval=interval)
    stated = stated_installments(purchase)
    in_plan = item.kind != "membership" and (bool(purchase.subscriptions) or (stated or 1) > 1)
    discount = 0 if in_plan or interval else _discount(purchase, price.currency)
    return PurchaseRequest(
        student_id=student_id,
        program=item.as_program(),
        amount=Money(amount=max(price.amount - discount, 0), currency=price.currency),
        item_id=item.id,
        owner_id=item.owner_id,
        payer="sponsor" if sponsor else "student",
        funding_source=sponsor,
        payment_type="plan" if in_plan else "full",
        installments=installments_of(price, stated=stated, largest=largest) if in_plan else None,
        payment_flow="membership" if item.kind == "membership" else "external",
        list_price=price,
        tier=item.tier,
        interval=interval,
    )


def price_for(item: Item, *, payer: Payer, interval: Interval | None = None) -> Money:
    """What the item costs this payer, before any discount."""
    if payer == "sponsor":
        return item.funding_amount
    return item.annual if interval == "year" and item.annual is not None else item.money


def installments_of(price: Money, *, stated: int | None, largest: int) -> int:
    """How many payments a plan has that was not started here. `largest`: of the payments received so far, in minor
    units; 0 if there is none."""
    if stated is not None:
        return stated
    if not largest:
        return PLAN_INSTALLMENTS
    return min(max(-(-price.amount // largest), 1), MOST_MONTHS)


def stated_installments(purchase: Purchase) -> int | None:
    return max((fact.installments for fact in stated_facts(purchase) if fact.installments), default=None)


def record_of(request: PurchaseRequest, purchase_id: UUID, refs: PaymentRefs, *, at: datetime) -> PurchaseRecorded:
    """The event that makes it a purchase for every service. Its price is the catalog's: what a discount of Stripe's
    took off counts as paid (`PaymentSucceeded.discount`). A membership has no whole price: a period's is due."""
    price = request.list_price or request.amount
    is_membership = request.payment_flow == "membership"
    due = price.amount // request.installments if request.installments else price.amount if is_membership else None
    return PurchaseRecorded(
        refs=refs,
        purchase_id=purchase_id,
        student_id=request.student_id,
        program=request.program,
        payer=request.payer,
        funding_source=request.funding_source,
        installments=request.installments,
        price=None if is_membership else price,
        due=None if due is None else Money(amount=due, currency=price.currency),
        as_of=at,
    )


def is_the_same_record(one: PurchaseRecorded | None, other: PurchaseRecorded) -> bool:
    """Whether nothing but the time and the references differ."""
    return one is not None and one == other.model_copy(update={"refs": one.refs, "as_of": one.as_of})


def refs_of(purchase: Purchase) -> PaymentRefs:
    """By which our record of it is connected with its payments: those of one payment, and the subscription's."""
    payments = sorted(purchase.settled_payments or purchase.payments, key=lambda each: sorted(each.refs))
    refs = refs_of_payment(payments[0]) if payments else PaymentRefs()
    return refs.model_copy(update={"subscription": min(purchase.subscriptions, default=None), "installment": None})


def refs_of_payment(payment: Payment) -> PaymentRefs:
    """The payment's ids by kind. If events state several of a kind, the choice is deterministic."""
    kinds = PaymentRefs.model_fields
    return PaymentRefs(
        **{k: min((ref for fact in payment.facts if (ref := getattr(fact.refs, k))), default=None) for k in kinds}
    )


def id_of(purchase: Purchase) -> UUID:
    """By which it is recorded. Events of one payment may derive different ids before they are connected: the
    subscription's, else one of an event that names somebody or something."""
    if purchase.id is not None and not purchase.is_derived:
        return purchase.id
    stated = [fact for fact in stated_facts(purchase) if fact.purchase_id]
    derived = {fact.purchase_id for fact in stated if fact.student_id or fact.program}
    derived = derived or {fact.purchase_id for fact in stated}
    of_subscriptions = {purchase_uuid(subscription) for subscription in purchase.subscriptions}
    if ids := sorted(filter(None, derived & of_subscriptions or derived)):
        return ids[0]
    refs = refs_of(purchase)
    first = refs.subscription or refs.payment_intent or refs.checkout_session or refs.invoice or refs.charge
    return purchase_uuid(first or min(purchase.payments[0].refs))


def _largest(purchase: Purchase) -> int:
    return max((payment.value for payment in purchase.settled_payments), default=0)


def _discount(purchase: Purchase, currency: str) -> int:
    """Minor units that Stripe's own page took off."""
    found = 0
    for payment in purchase.settled_payments:
        stated = [fact.discount for fact in payment.facts if isinstance(fact, PaymentSucceeded) and fact.discount]
        found += max((money.amount for money in stated if money.currency == currency), default=0)
    return found
