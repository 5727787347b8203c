"""A purchase: the payments made for one thing, and what they say of it together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Literal, TypeVar
from uuid import UUID

from contracts.envelope import Model
from contracts.money import Money
from contracts.payments import PaymentEvent, PaymentExpired, PaymentFailed, PurchaseEnded, SubscriptionChanged
from contracts.people import Contact, Payer, Program
from ledger.connected import connected
from ledger.payment import Payment
from ledger.policy import DEFAULT_POLICY, Policy

_ATTEMPT = (PaymentFailed, PaymentExpired)
"""Events of attempts that brought no money."""

UNDERPAID = "underpaid"
CONFLICTING_STUDENTS = "conflicting_students"


class Standing(StrEnum):
    """What the facts say of a purchase or an enrollment; among purchases of one enrollment a later member outranks an
    earlier one."""

    NONE = "none"
    WITHDRAWN = "withdrawn"
    PENDING = "pending"
    PAUSED = "paused"
    ACTIVE = "active"

    @property
    def rank(self) -> int:
        return list(Standing).index(self)


@dataclass(frozen=True)
class Purchase:
    """The payments for one thing: a single one, or the installments of a plan."""

    facts: tuple[PaymentEvent, ...]

    @cached_property
    def payments(self) -> tuple[Payment, ...]:
        of_payments = [fact for fact in self.facts if fact.refs.of_payment()]
        return tuple(Payment(part) for part in connected(of_payments, lambda fact: fact.refs.of_payment()))

    @cached_property
    def amounts_due(self) -> tuple[Payment, ...]:
        """Each payment, invoice, or installment with all attempts to collect it; settled ones included."""

        def of_installment(fact: PaymentEvent) -> frozenset[str]:
            installment = {f"installment:{fact.refs.installment}"} if fact.refs.installment else set()
            return fact.refs.of_payment() | installment

        named = [fact for fact in self.facts if of_installment(fact)]
        return tuple(Payment(part) for part in connected(named, of_installment))

    @cached_property
    def past_due(self) -> tuple[Payment, ...]:
        """What is owed since its last retry failed: each an invoice, or an installment with all its attempts."""
        return tuple(payment for payment in self.amounts_due if payment.past_due)

    @cached_property
    def id(self) -> UUID | None:
        """Ours when we started it, else derived from Stripe's id; None while no event has named it."""
        named = {fact.purchase_id for fact in self.facts if fact.purchase_id}
        return min(named, key=lambda purchase: (purchase.version == 5, purchase.hex), default=None)

    @property
    def sort_key(self) -> str:
        """The same for the same facts, whatever their order."""
        return self.id.hex if self.id else min(self.facts[0].refs.of_payment(), default="")

    @cached_property
    def deciding_facts(self) -> tuple[PaymentEvent, ...]:
        """The events that decide who bought what: those of the money received, otherwise of the money that is being
        processed, otherwise all. A declined or expired attempt decides nothing once there is money."""
        for found in (self.settled_payments, [payment for payment in self.payments if payment.processing]):
            facts = [fact for payment in found for fact in payment.facts]
            if found:
                return tuple(fact for fact in facts if not isinstance(fact, _ATTEMPT))
        return self.facts

    @cached_property
    def named_student_ids(self) -> frozenset[UUID]:
        """Every student that some event names."""
        return _student_ids(self.facts)

    @cached_property
    def student_ids(self) -> frozenset[UUID]:
        """The students that it is for. More than one is a conflict that only a person can resolve."""
        return _student_ids(self.deciding_facts) or self.named_student_ids

    @property
    def student_id(self) -> UUID | None:
        """None while nobody has named one, and when two are named."""
        return next(iter(self.student_ids)) if len(self.student_ids) == 1 else None

    @cached_property
    def programs(self) -> tuple[Program, ...]:
        """Every program that some event names, once: thousands of declined attempts name the same one."""
        return _programs(self.facts)

    @cached_property
    def program(self) -> Program | None:
        """What was bought, described by all events that name it.

        If they disagree: the bundle with the most parts, then one named by a slug before one named by an id only,
        then the one described best. An event that names fewer parts of a bundle takes none away.
        """
        candidates = _programs(self.deciding_facts) or self.programs
        described = (describe(candidate, self.programs) for candidate in candidates)
        return max(described, key=lambda each: (len(each.includes), not each.id_only, *fullness(each)), default=None)

    @cached_property
    def contact(self) -> Contact | None:
        return fullest(fact.contact for fact in self.facts)

    @property
    def payer(self) -> Payer:
        return "sponsor" if any(fact.payer == "sponsor" for fact in self.facts) else "student"

    @property
    def funding_source(self) -> str | None:
        return min((fact.funding_source for fact in self.facts if fact.funding_source), default=None)

    @property
    def installments(self) -> int | None:
        """How many payments the plan has in all; None when it is no plan."""
        return max(
            (fact.installments for fact in self._facts_that_name("installments") if fact.installments), default=None
        )

    @property
    def subscriptions(self) -> frozenset[str]:
        return frozenset(fact.refs.subscription for fact in self.facts if fact.refs.subscription)

    @property
    def subscription(self) -> SubscriptionChanged | None:
        """The latest state of the subscription: an end is final, otherwise the latest `as_of` (None is the oldest)."""
        changes = [fact for fact in self.facts if isinstance(fact, SubscriptionChanged)]
        return max(changes, key=_subscription_order, default=None)

    @property
    def subscription_ended(self) -> bool:
        """Stripe never brings a canceled subscription back, so this fact needs no order."""
        return any(isinstance(fact, SubscriptionChanged) and _has_ended(fact) for fact in self.facts)

    @cached_property
    def settled_payments(self) -> tuple[Payment, ...]:
        return tuple(payment for payment in self.payments if payment.settled is not None)

    @property
    def price(self) -> Money | None:
        """What all of it costs, in a currency that was paid if there is one; None when no event says."""
        named = [fact.price for fact in self._facts_that_name("price") if fact.price]
        return max(named, key=lambda money: (money.currency in self.paid, money.amount, money.currency), default=None)

    def _facts_that_name(self, field: Literal["price", "installments"]) -> Sequence[PaymentEvent]:
        """The deciding events that name it; if none does, the others, but no failed attempt beside received money."""
        if deciding := [fact for fact in self.deciding_facts if getattr(fact, field)]:
            return deciding
        return [fact for fact in self.facts if not isinstance(fact, _ATTEMPT)] if self.settled_payments else self.facts

    @cached_property
    def paid(self) -> Mapping[str, int]:
        """currency -> minor units received in all payments"""
        found: dict[str, int] = defaultdict(int)
        for money in (payment.settled for payment in self.payments):
            if money is not None:
                found[money.currency] += money.amount
        return found

    @cached_property
    def refunded(self) -> Mapping[str, int]:
        """currency -> minor units paid back, never more than was received"""
        found: dict[str, int] = defaultdict(int)
        for payment in self.payments:
            if payment.settled is not None:
                found[payment.settled.currency] += min(payment.refunded, payment.settled.amount)
        return found

    @property
    def fully_refunded(self) -> bool:
        """Money was received, and all of it was paid back."""
        received = {currency: amount for currency, amount in self.paid.items() if amount > 0}
        return bool(received) and all(self.refunded.get(currency, 0) >= amount for currency, amount in received.items())

    @property
    def ended(self) -> bool:
        return any(isinstance(fact, PurchaseEnded) for fact in self.facts)

    @property
    def waived(self) -> bool:
        """Settled, and not by money."""
        settled = self.settled_payments
        return bool(settled) and all(payment.method == "waiver" for payment in settled)

    @property
    def underpaid(self) -> bool:
        """Paid in one sum, with less than the price. What is waived is not owed, a plan is opened by its first
        installment, and a membership is paid by the month."""
        if self.price is None or self.installments or self.waived or self._is_membership:
            return False
        return bool(self.settled_payments) and self.paid.get(self.price.currency, 0) < self.price.amount

    @property
    def initiated(self) -> bool:
        """The payer has acted: money was received, or was on its way at some time."""
        return bool(self.settled_payments) or any(payment.submitted for payment in self.payments)

    def standing(self, policy: Policy = DEFAULT_POLICY) -> tuple[Standing, str | None]:
        """The standing, and the reason for any but a plain one."""
        if not self.settled_payments:
            return self._unsettled()
        if self.ended:
            return Standing.WITHDRAWN, "canceled"
        if policy.lost_dispute_withdraws and any(payment.lost for payment in self.payments):
            return Standing.WITHDRAWN, "dispute_lost"
        if policy.full_refund_withdraws and self.fully_refunded:
            return Standing.WITHDRAWN, "refunded"
        if self._is_membership and self.subscription_ended:
            return Standing.WITHDRAWN, "membership_ended"
        if len(self.student_ids) > 1:
            return Standing.PENDING, CONFLICTING_STUDENTS
        if self.underpaid:
            return Standing.PENDING, UNDERPAID
        if policy.past_due_pauses and self.past_due:
            return Standing.PAUSED, "past_due"
        if self._plan_broken_off:
            return Standing.PAUSED, "plan_canceled"
        if self._is_membership and self.subscription is not None and self.subscription.collection_paused:
            return Standing.PAUSED, "membership_paused"
        return Standing.ACTIVE, None

    def _unsettled(self) -> tuple[Standing, str | None]:
        if not self.ended and any(payment.processing for payment in self.payments):
            return Standing.PENDING, CONFLICTING_STUDENTS if len(self.student_ids) > 1 else None
        if self.initiated:
            return Standing.WITHDRAWN, "canceled" if self.ended else "payment_failed"
        return Standing.NONE, None

    @property
    def _is_membership(self) -> bool:
        return self.program is not None and self.program.kind == "membership"

    @property
    def _plan_broken_off(self) -> bool:
        """Its subscription has ended, and neither all installments nor all of the price was paid."""
        if not self.subscription_ended or self.installments is None:
            return False
        if self.price is not None and self.paid.get(self.price.currency, 0) >= self.price.amount:
            return False
        return sum(payment.settled.amount > 0 for payment in self.payments if payment.settled) < self.installments


def _has_ended(change: SubscriptionChanged) -> bool:
    return change.status in ("canceled", "incomplete_expired")


def _subscription_order(change: SubscriptionChanged) -> tuple[bool, datetime, str]:
    return _has_ended(change), change.as_of or datetime.min.replace(tzinfo=UTC), change.model_dump_json()


M = TypeVar("M", bound=Model)
T = TypeVar("T")


def fullness(candidate: Model) -> tuple[int, str]:
    """How much it says; the text breaks ties the same way every time."""
    return len(candidate.model_dump(exclude_none=True)), candidate.model_dump_json()


def fullest(candidates: Iterable[M | None]) -> M | None:
    """The one that says the most."""
    return max((candidate for candidate in candidates if candidate is not None), key=fullness, default=None)


def describe(item: Program, programs: Iterable[Program]) -> Program:
    """The item with all that the programs say of it, field by field; where they differ, the fullest one is right.

    A program that is named by an id only is the one that has both that id and a slug.
    """
    same = [each for each in programs if each.slug == item.slug or (_by_id(each, item) and each.id == item.id)]
    ordered = sorted([item, *same], key=lambda each: (not each.id_only, *fullness(each)), reverse=True)
    most_parts = max(ordered, key=lambda each: (len(each.includes), *fullness(each)))
    return ordered[0].model_copy(
        update={
            "name": _first(each.name for each in ordered),
            "provider": _first(each.provider for each in ordered),
            "kind": _first(each.kind for each in ordered),
            "includes": most_parts.includes,
        }
    )


def _by_id(one: Program, other: Program) -> bool:
    return bool(one.id_only or other.id_only)


def _first(values: Iterable[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)


def _programs(facts: Iterable[PaymentEvent]) -> tuple[Program, ...]:
    return tuple(dict.fromkeys(fact.program for fact in facts if fact.program))


def _student_ids(facts: Iterable[PaymentEvent]) -> frozenset[UUID]:
    return frozenset(fact.student_id for fact in facts if fact.student_id)


def fullest_part(programs: Iterable[Program], slug: str) -> Program:
    """One part, with all that the programs say of it. Raises ValueError if none has it."""
    named = [part for program in programs for part in program.parts if part.slug == slug]
    if not named:
        raise ValueError(f"no program has the part {slug!r}")
    return describe(named[0], named)
