"""One payment: what the events that name it say together, in whatever order they came."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

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
)

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
        """An invoice or an installment whose last retry failed, and that was neither paid since nor given up.

        (An intent that failed is just dropped, and one that was canceled is no failure.)
        """
        if self.settled is not None or self.voided:
            return False
        failed = (fact for fact in self.facts if isinstance(fact, PaymentFailed) and fact.final)
        return any((fact.refs.invoice or fact.refs.installment) and fact.code != "canceled" for fact in failed)

    @property
    def voided(self) -> bool:
        """An installment outlives the session or invoice that it was to be paid with: it ends by its own name only."""
        ended = [fact for fact in self.facts if isinstance(fact, PaymentExpired)]
        if any(fact.refs.installment for fact in self.facts):
            return any(not fact.refs.of_payment() for fact in ended)
        return bool(ended)

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
    def tax(self) -> Money | None:
        """How much of what was settled is tax; None when nobody said."""
        named = [fact.tax for fact in self.facts if isinstance(fact, PaymentSucceeded) and fact.tax]
        return max(named, key=lambda money: (money.amount, money.currency), default=None)

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
    def funds_withdrawn(self) -> frozenset[str]:
        """The disputes whose money has left the account and has not come back."""
        told = [f for f in self.facts if isinstance(f, (PaymentDisputeOpened, PaymentDisputeClosed))]
        back = {fact.dispute_id for fact in told if fact.funds == "reinstated"}
        return frozenset(fact.dispute_id for fact in told if fact.funds == "withdrawn") - back

    @property
    def disputed(self) -> bool:
        return any(_DISPUTE_RANK[status] < _DISPUTE_RANK["warning_closed"] for status in self.disputes.values())

    @property
    def lost(self) -> bool:
        return "lost" in self.disputes.values()
