"""Facts, then standing: what a set of payment events says, whatever order and however often they came.

The facts are the events themselves, keyed by event id. Merging is the union of two such sets, so it is commutative,
associative and idempotent by construction; `fold` reads the union without ever looking at an order of arrival.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TypeVar
from uuid import UUID

from pydantic import BaseModel

from contracts.envelope import Model
from contracts.money import Money
from contracts.payments import (
    DisputeStatus,
    PaymentDisputeClosed,
    PaymentDisputeOpened,
    PaymentEvent,
    PaymentExpired,
    PaymentFailed,
    PaymentPending,
    PaymentRefunded,
    PaymentSucceeded,
    SubscriptionChanged,
)
from contracts.people import Contact, Payer, Program

Facts = Mapping[str, PaymentEvent]
"""event id -> event"""


class Standing(StrEnum):
    """What the facts say of a purchase or a seat; the later member outranks the earlier one within a seat."""

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

_SEAT = "seat:"

# The last word on a dispute, by rank: an inquiry may become a dispute, and a closed one never reopens.
_DISPUTE_RANK: Mapping[DisputeStatus, int] = {
    "warning_needs_response": 0,
    "warning_under_review": 1,
    "needs_response": 2,
    "under_review": 3,
    "warning_closed": 4,
    "prevented": 5,
    "won": 6,
    "lost": 7,
}


def keys(event: PaymentEvent) -> frozenset[str]:
    """What this event has in common with others of the same seat. Events that share a key belong together."""
    found = set(event.refs.of_payment())
    if event.refs.subscription:
        found.add(event.refs.subscription)
    if event.purchase_id:
        found.add(f"purchase:{event.purchase_id}")
    if event.student_id and event.program:
        found.add(seat_key(event.student_id, event.program.slug))
    return frozenset(found)


def seat_key(student_id: UUID, program_slug: str) -> str:
    """The key under which everything about a student's place in a program meets."""
    return f"{_SEAT}{student_id}:{program_slug}"


@dataclass(frozen=True)
class Payment:
    """One payment: everything said under references that are connected with each other."""

    facts: tuple[PaymentEvent, ...]

    @cached_property
    def refs(self) -> frozenset[str]:
        return frozenset().union(*(fact.refs.of_payment() for fact in self.facts))

    @cached_property
    def settled(self) -> Money | None:
        """The amount received; None while nothing is. (A session and its intent tell the same money twice.)"""
        amounts = [fact.amount for fact in self.facts if isinstance(fact, PaymentSucceeded)]
        return max(amounts, key=lambda money: (money.amount, money.currency), default=None)

    @property
    def past_due(self) -> bool:
        """An invoice whose last retry failed, and that was neither paid since nor voided.

        (An intent that failed is just dropped.)
        """
        owed = self.settled is None and not self.expired and any(fact.refs.invoice for fact in self.facts)
        return owed and any(isinstance(fact, PaymentFailed) and fact.final for fact in self.facts)

    @property
    def announced(self) -> bool:
        """The payer has acted; the money was on its way at some time."""
        return any(isinstance(fact, PaymentPending) for fact in self.facts)

    @property
    def under_way(self) -> bool:
        """Announced, and that attempt has not failed. Attempts are told apart by their charges: a card that was
        declined before does not end the bank debit that came after it."""
        if any(isinstance(fact, PaymentFailed) and fact.final for fact in self.facts):
            return False
        begun = {fact.refs.charge for fact in self.facts if isinstance(fact, PaymentPending)}
        failed = {fact.refs.charge for fact in self.facts if isinstance(fact, PaymentFailed)}
        return bool((begun - {None} or begun) - failed)

    @property
    def expired(self) -> bool:
        return any(isinstance(fact, PaymentExpired) for fact in self.facts)

    @property
    def method(self) -> str | None:
        named = {f.method for f in self.facts if isinstance(f, (PaymentSucceeded, PaymentPending)) and f.method}
        return min(named, default=None)

    @property
    def manual(self) -> bool:
        return any(fact.refs.manual for fact in self.facts)

    @cached_property
    def refunded(self) -> int:
        """How much has gone back, in minor units; refunds that failed are taken off again.

        Three witnesses, each of which may have missed something, none of which overstates: the largest cumulative
        total, the sum of the steps that the totals took, and the sum of the refunds known one by one.
        """
        totals = [f for f in self.facts if isinstance(f, PaymentRefunded) and f.total is not None]
        largest = max((f.total.amount for f in totals if f.total), default=0)
        stepped = sum(max(f.total.amount - f.before.amount, 0) for f in totals if f.total and f.before)
        by_status: dict[str, dict[str, int]] = defaultdict(dict)
        for fact in self.facts:
            if isinstance(fact, PaymentRefunded) and fact.refund_id and fact.amount:
                by_status[fact.status][fact.refund_id] = fact.amount.amount
        failed = by_status["failed"] | by_status["canceled"]
        known = {**by_status["pending"], **by_status["requires_action"], **by_status["succeeded"]}
        still = sum(amount for refund, amount in known.items() if refund not in failed)
        taken_back = sum(failed.values())
        return max(largest - taken_back, stepped - taken_back, still, 0)

    @cached_property
    def disputes(self) -> Mapping[str, DisputeStatus]:
        """dispute id -> its last word"""
        found: dict[str, DisputeStatus] = {}
        for fact in self.facts:
            if isinstance(fact, (PaymentDisputeOpened, PaymentDisputeClosed)):
                known = found.get(fact.dispute_id)
                if known is None or _DISPUTE_RANK[fact.status] > _DISPUTE_RANK[known]:
                    found[fact.dispute_id] = fact.status
        return found

    @property
    def disputed(self) -> bool:
        return any(_DISPUTE_RANK[status] < _DISPUTE_RANK["warning_closed"] for status in self.disputes.values())

    @property
    def lost(self) -> bool:
        return "lost" in self.disputes.values()


@dataclass(frozen=True)
class Purchase:
    """A set of payments for one thing: a single one, or the instalments of a plan."""

    facts: tuple[PaymentEvent, ...]

    @cached_property
    def payments(self) -> tuple[Payment, ...]:
        of_payments = [fact for fact in self.facts if fact.refs.of_payment()]
        return tuple(Payment(part) for part in _connected(of_payments, lambda fact: fact.refs.of_payment()))

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
        return _fullest(fact.program for fact in self.facts)

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
    def instalments(self) -> int | None:
        return max((fact.instalments for fact in self.facts if fact.instalments), default=None)

    @property
    def subscriptions(self) -> frozenset[str]:
        return frozenset(fact.refs.subscription for fact in self.facts if fact.refs.subscription)

    @property
    def subscription_ended(self) -> bool:
        """Stripe never brings a cancelled subscription back, so this fact needs no order."""
        ended = ("canceled", "incomplete_expired")
        return any(isinstance(fact, SubscriptionChanged) and fact.status in ended for fact in self.facts)

    @property
    def settled_payments(self) -> tuple[Payment, ...]:
        return tuple(payment for payment in self.payments if payment.settled is not None)

    @property
    def paid(self) -> int:
        """Minor units received in all payments."""
        return sum(payment.settled.amount for payment in self.payments if payment.settled)

    @property
    def refunded(self) -> int:
        """Minor units that went back, never more than came in."""
        return sum(min(payment.refunded, payment.settled.amount) for payment in self.payments if payment.settled)

    @property
    def waived(self) -> bool:
        """Settled, and not by money."""
        settled = self.settled_payments
        return bool(settled) and all(payment.method == "waiver" for payment in settled)

    def standing(self, policy: Policy = DEFAULT_POLICY) -> tuple[Standing, str | None]:
        """The standing and, where it is not plain, the reason for it."""
        if not self.settled_payments:
            return self._unsettled()
        if policy.lost_dispute_withdraws and any(payment.lost for payment in self.payments):
            return Standing.WITHDRAWN, "dispute_lost"
        if policy.full_refund_withdraws and self.refunded >= self.paid > 0:
            return Standing.WITHDRAWN, "refunded"
        if policy.past_due_pauses and any(payment.past_due for payment in self.payments):
            return Standing.PAUSED, "past_due"
        if self._plan_broken_off:
            return Standing.PAUSED, "plan_cancelled"
        return Standing.ACTIVE, None

    def _unsettled(self) -> tuple[Standing, str | None]:
        if any(payment.under_way for payment in self.payments):
            return Standing.PENDING, None
        if any(payment.announced for payment in self.payments):
            return Standing.WITHDRAWN, "payment_failed"
        return Standing.NONE, None

    @property
    def _plan_broken_off(self) -> bool:
        charged = sum(payment.settled.amount > 0 for payment in self.payments if payment.settled)
        return self.subscription_ended and self.instalments is not None and charged < self.instalments


@dataclass(frozen=True)
class Seat:
    """A student's place in a program, and every purchase that was made for it."""

    student_id: UUID
    program: Program
    purchases: tuple[Purchase, ...]

    @property
    def opened(self) -> bool:
        """Whether it was ever paid for. (So a refund that comes before its payment ends as one that comes after.)"""
        return any(purchase.settled_payments for purchase in self.purchases)

    def decisive(self, policy: Policy = DEFAULT_POLICY) -> tuple[Purchase, Standing, str | None]:
        """The purchase that decides how the seat stands: the one with the best standing."""
        judged = [(purchase, *purchase.standing(policy)) for purchase in self.purchases]
        return max(judged, key=lambda each: (each[1].rank, _tie_break(each[0])))


def fold(facts: Facts) -> tuple[Purchase, ...]:
    """The purchases that the facts speak of, in a stable order."""
    ordered = [facts[event_id] for event_id in sorted(facts)]
    parts = _connected(ordered, _keys_of_purchase)
    return tuple(sorted((Purchase(part) for part in parts), key=_tie_break))


def seats(facts: Facts) -> tuple[Seat, ...]:
    """The seats that the facts speak of. A purchase whose student or program nobody has named yet has none."""
    by_seat: dict[tuple[UUID, str], list[Purchase]] = defaultdict(list)
    for purchase in fold(facts):
        if purchase.student_id and purchase.program:
            by_seat[purchase.student_id, purchase.program.slug].append(purchase)
    found = []
    for (student_id, _), purchases in sorted(by_seat.items(), key=lambda each: (each[0][0].hex, each[0][1])):
        program = _fullest(purchase.program for purchase in purchases)
        assert program is not None  # noqa: S101  each purchase here has one
        found.append(Seat(student_id, program, tuple(purchases)))
    return tuple(found)


def _keys_of_purchase(event: PaymentEvent) -> frozenset[str]:
    return frozenset(key for key in keys(event) if not key.startswith(_SEAT))


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
