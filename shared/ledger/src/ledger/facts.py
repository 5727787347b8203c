"""Facts, then standing: what a set of payment events says, whatever order and however often they came.

The facts are the events themselves, keyed by event id. Merging is the union of two such sets, so it is commutative,
associative and idempotent by construction; `fold` reads the union without ever looking at an order of arrival.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import TypeVar
from uuid import UUID

from pydantic import BaseModel

from contracts.envelope import Model
from contracts.money import Money
from contracts.payments import PaymentEvent, PurchaseCanceled, SubscriptionChanged
from contracts.people import Contact, Payer, Program
from ledger.payment import Payment

Facts = Mapping[str, PaymentEvent]
"""event id -> event"""


class Standing(StrEnum):
    """What the facts say of a purchase or an enrollment; the later member outranks the earlier one within an enrollment."""

    NONE = "none"
    WITHDRAWN = "withdrawn"
    PENDING = "pending"
    PAUSED = "paused"
    ACTIVE = "active"

    @property
    def rank(self) -> int:
        return list(Standing).index(self)


class Policy(Model):
    """What a school does about money that stops or goes back. The defaults are the house's."""

    past_due_pauses: bool = True
    full_refund_withdraws: bool = True
    lost_dispute_withdraws: bool = True


class PolicySettings(BaseModel):
    """A mixin for the settings of each service that acts on a standing: PAST_DUE_PAUSES and so on."""

    past_due_pauses: bool = True
    full_refund_withdraws: bool = True
    lost_dispute_withdraws: bool = True

    @property
    def policy(self) -> Policy:
        return Policy.model_validate(self, from_attributes=True)


DEFAULT_POLICY = Policy()

_ENROLLMENT = "enrollment:"


def keys(event: PaymentEvent) -> frozenset[str]:
    """What this event has in common with others of the same enrollment. Events that share a key belong together."""
    found = set(event.refs.of_payment())
    if event.refs.subscription:
        found.add(event.refs.subscription)
    if event.purchase_id:
        found.add(f"purchase:{event.purchase_id}")
    if event.student_id and event.program:
        found.update(enrollment_key(event.student_id, enrollment.slug) for enrollment in event.program.parts)
    return frozenset(found)


def enrollment_key(student_id: UUID, program_slug: str) -> str:
    """The key under which everything about a student's place in a program meets."""
    return f"{_ENROLLMENT}{student_id}:{program_slug}"


@dataclass(frozen=True)
class Purchase:
    """A set of payments for one thing: a single one, or the installments of a plan."""

    facts: tuple[PaymentEvent, ...]

    @cached_property
    def payments(self) -> tuple[Payment, ...]:
        of_payments = [fact for fact in self.facts if fact.refs.of_payment()]
        return tuple(Payment(part) for part in _connected(of_payments, lambda fact: fact.refs.of_payment()))

    @cached_property
    def past_due(self) -> tuple[Payment, ...]:
        """What is owed since its last retry failed: each an invoice, or an installment with all its attempts."""

        def of_due(fact: PaymentEvent) -> frozenset[str]:
            installment = {f"installment:{fact.refs.installment}"} if fact.refs.installment else set()
            return fact.refs.of_payment() | installment

        named = [fact for fact in self.facts if of_due(fact)]
        dues = (Payment(part) for part in _connected(named, of_due))
        return tuple(due for due in dues if due.past_due)

    @cached_property
    def id(self) -> UUID | None:
        """Ours when we started it, else derived from Stripe's id; None while no event has said."""
        named = {fact.purchase_id for fact in self.facts if fact.purchase_id}
        return min(named, key=lambda purchase: (purchase.version == 5, purchase.hex), default=None)

    @cached_property
    def student_id(self) -> UUID | None:
        return min((fact.student_id for fact in self.facts if fact.student_id), default=None)

    @cached_property
    def program(self) -> Program | None:
        """The fullest; who names fewer parts of a bundle than another takes none of its enrollments away."""
        named = [fact.program for fact in self.facts if fact.program]
        parts = max((len(program.includes) for program in named), default=0)
        return _fullest(program for program in named if len(program.includes) == parts)

    @cached_property
    def contact(self) -> Contact | None:
        return _fullest(fact.contact for fact in self.facts)

    @property
    def payer(self) -> Payer:
        return "sponsor" if any(fact.payer == "sponsor" for fact in self.facts) else "student"

    @property
    def funding_source(self) -> str | None:
        return min((fact.funding_source for fact in self.facts if fact.funding_source), default=None)

    @property
    def installments(self) -> int | None:
        return max((fact.installments for fact in self.facts if fact.installments), default=None)

    @property
    def subscriptions(self) -> frozenset[str]:
        return frozenset(fact.refs.subscription for fact in self.facts if fact.refs.subscription)

    @property
    def subscription_ended(self) -> bool:
        """Stripe never brings a canceled subscription back, so this fact needs no order."""
        ended = ("canceled", "incomplete_expired")
        return any(isinstance(fact, SubscriptionChanged) and fact.status in ended for fact in self.facts)

    @property
    def settled_payments(self) -> tuple[Payment, ...]:
        return tuple(payment for payment in self.payments if payment.settled is not None)

    @property
    def price(self) -> Money | None:
        """What all of it costs; None when nobody said."""
        named = [fact.price for fact in self.facts if fact.price]
        return max(named, key=lambda money: (money.amount, money.currency), default=None)

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
        """currency -> minor units that went back, never more than came in"""
        found: dict[str, int] = defaultdict(int)
        for payment in self.payments:
            if payment.settled is not None:
                found[payment.settled.currency] += min(payment.refunded, payment.settled.amount)
        return found

    @property
    def all_back(self) -> bool:
        """Money came in, and all of it went back."""
        came = {currency: amount for currency, amount in self.paid.items() if amount > 0}
        return bool(came) and all(self.refunded.get(currency, 0) >= amount for currency, amount in came.items())

    @property
    def canceled(self) -> bool:
        return any(isinstance(fact, PurchaseCanceled) for fact in self.facts)

    @property
    def subscription(self) -> SubscriptionChanged | None:
        """The last word on the subscription: an end is final, else the latest; what has no time is the oldest."""
        told = [fact for fact in self.facts if isinstance(fact, SubscriptionChanged)]
        return max(told, key=_lateness, default=None)

    @property
    def waived(self) -> bool:
        """Settled, and not by money."""
        settled = self.settled_payments
        return bool(settled) and all(payment.method == "waiver" for payment in settled)

    def standing(self, policy: Policy = DEFAULT_POLICY) -> tuple[Standing, str | None]:
        """The standing and, where it is not plain, the reason for it."""
        if not self.settled_payments:
            return self._unsettled()
        if self.canceled:
            return Standing.WITHDRAWN, "canceled"
        if policy.lost_dispute_withdraws and any(payment.lost for payment in self.payments):
            return Standing.WITHDRAWN, "dispute_lost"
        if policy.full_refund_withdraws and self.all_back:
            return Standing.WITHDRAWN, "refunded"
        if self._is_membership and self.subscription_ended:
            return Standing.WITHDRAWN, "membership_ended"
        if policy.past_due_pauses and self.past_due:
            return Standing.PAUSED, "past_due"
        if self._plan_broken_off:
            return Standing.PAUSED, "plan_canceled"
        if self._is_membership and self.subscription is not None and self.subscription.collection_paused:
            return Standing.PAUSED, "membership_paused"
        return Standing.ACTIVE, None

    def _unsettled(self) -> tuple[Standing, str | None]:
        if not self.canceled and any(payment.under_way for payment in self.payments):
            return Standing.PENDING, None
        if any(payment.announced for payment in self.payments):
            return Standing.WITHDRAWN, "canceled" if self.canceled else "payment_failed"
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


@dataclass(frozen=True)
class Enrollment:
    """A student's place in a program, and every purchase that was made for it."""

    student_id: UUID
    program: Program
    purchases: tuple[Purchase, ...]

    @property
    def opened(self) -> bool:
        """Whether it was ever paid for. (So a refund that comes before its payment ends as one that comes after.)"""
        return any(purchase.settled_payments for purchase in self.purchases)

    def decisive(self, policy: Policy = DEFAULT_POLICY) -> tuple[Purchase, Standing, str | None]:
        """The purchase that decides how the enrollment stands: the one with the best standing."""
        judged = [(purchase, *purchase.standing(policy)) for purchase in self.purchases]
        return max(judged, key=lambda each: (each[1].rank, _tie_break(each[0])))


def fold(facts: Facts) -> tuple[Purchase, ...]:
    """The purchases that the facts speak of, in a stable order."""
    ordered = [facts[event_id] for event_id in sorted(facts)]
    parts = _connected(ordered, _keys_of_purchase)
    return tuple(sorted((Purchase(part) for part in parts), key=_tie_break))


def enrollments(facts: Facts) -> tuple[Enrollment, ...]:
    """The enrollments that the facts speak of. A purchase whose student or program nobody has named yet has none."""
    by_enrollment: dict[tuple[UUID, str], list[Purchase]] = defaultdict(list)
    for purchase in fold(facts):
        if purchase.student_id and purchase.program:
            for program in purchase.program.parts:
                by_enrollment[purchase.student_id, program.slug].append(purchase)
    found = []
    for (student_id, slug), purchases in sorted(by_enrollment.items(), key=lambda each: (each[0][0].hex, each[0][1])):
        bought = [purchase.program for purchase in purchases if purchase.program]
        enrollment = _fullest(
            enrollment for program in bought for enrollment in program.parts if enrollment.slug == slug
        )
        assert enrollment is not None  # noqa: S101  each purchase here has one
        found.append(Enrollment(student_id, enrollment, tuple(purchases)))
    return tuple(found)


def _keys_of_purchase(event: PaymentEvent) -> frozenset[str]:
    return frozenset(key for key in keys(event) if not key.startswith(_ENROLLMENT))


def _lateness(told: SubscriptionChanged) -> tuple[bool, datetime, str]:
    ended = told.status in ("canceled", "incomplete_expired")
    return ended, told.as_of or datetime.min.replace(tzinfo=UTC), told.model_dump_json()


def _tie_break(purchase: Purchase) -> str:
    return purchase.id.hex if purchase.id else min(purchase.facts[0].refs.of_payment(), default="")


def _connected(
    facts: Iterable[PaymentEvent], keys_of: Callable[[PaymentEvent], frozenset[str]]
) -> list[tuple[PaymentEvent, ...]]:
    """The facts in groups that share keys, directly or over others."""
    groups: list[tuple[set[str], list[PaymentEvent]]] = []
    for fact in facts:
        own = set(keys_of(fact))
        joined = [fact]
        apart = []
        for group in groups:
            if group[0] & own:
                own |= group[0]
                joined = group[1] + joined
            else:
                apart.append(group)
        groups = [*apart, (own, joined)]
    return [tuple(group[1]) for group in groups]


M = TypeVar("M", bound=Model)


def _fullest(candidates: Iterable[M | None]) -> M | None:
    """The one that tells the most; among equals always the same one."""
    known = [candidate for candidate in candidates if candidate is not None]
    return max(known, key=lambda c: (len(c.model_dump(exclude_none=True)), c.model_dump_json()), default=None)
