"""One payment: what the events that name it say together, in any order."""

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

# The status of a dispute is the one with the highest rank: an inquiry may become a dispute, a closed one never reopens.
_DISPUTE_RANK: Mapping[DisputeStatus, int] = {
    "warning_needs_response": 0,
    "warning_under_review": 1,
    "needs_response": 2,
    "under_review": 3,
    "warning_closed": 4,
    "prevented": 5,
    "won": 6,
    "lost": 7,
    "appeal_needs_response": 8,
    "appeal_under_review": 9,
}


@dataclass(frozen=True)
class Payment:
    """One payment: all events whose payment references are connected."""

    facts: tuple[PaymentEvent, ...]

    @cached_property
    def refs(self) -> frozenset[str]:
        return frozenset().union(*(fact.refs.of_payment() for fact in self.facts))

    @cached_property
    def settled(self) -> Money | None:
        """The amount received; None if nothing was. (A session and its intent report the same money.)"""
        amounts = [fact.amount for fact in self.facts if isinstance(fact, PaymentSucceeded)]
        return max(amounts, key=lambda money: (money.amount, money.currency), default=None)

    @property
    def past_due(self) -> bool:
        """An invoice or installment whose last retry failed, and that was neither paid since nor waived.

        (A failed intent by itself is abandoned, not owed; a canceled one is not a failure.)
        """
        if self.settled is not None or self.voided:
            return False
        failed = (fact for fact in self.facts if isinstance(fact, PaymentFailed) and fact.final)
        return any((fact.refs.invoice or fact.refs.installment) and fact.code != "canceled" for fact in failed)

    @property
    def voided(self) -> bool:
        """An installment outlives the session or invoice it was to be paid with: only an event without them ends it."""
        ended = [fact for fact in self.facts if isinstance(fact, PaymentExpired)]
        if any(fact.refs.installment for fact in self.facts):
            return any(not fact.refs.of_payment() for fact in ended)
        return bool(ended)

    @property
    def submitted(self) -> bool:
        """A bank debit was submitted at some time, whatever became of it."""
        return any(isinstance(fact, PaymentPending) for fact in self.facts)

    @property
    def processing(self) -> bool:
        """Submitted, and that attempt has not failed. Attempts differ by their charges: a card declined earlier does
        not end the bank debit that was submitted after it."""
        if any(isinstance(fact, PaymentFailed) and fact.final for fact in self.facts):
            return False
        submitted = {fact.refs.charge for fact in self.facts if isinstance(fact, PaymentPending)}
        failed = {fact.refs.charge for fact in self.facts if isinstance(fact, PaymentFailed)}
        return bool((submitted - {None} or submitted) - failed)

    @property
    def expired(self) -> bool:
        return any(isinstance(fact, PaymentExpired) for fact in self.facts)

    @property
    def tax(self) -> Money | None:
        """The tax included in the amount received; None if no event says."""
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
        """The amount paid back, in minor units, without refunds that failed.

        The maximum of three figures, each of which may miss an event and none of which overstates: the largest
        cumulative total, the sum of the increments of the totals, and the sum of the individual refunds.
        """
        totals = [f for f in self.facts if isinstance(f, PaymentRefunded) and f.total is not None]
        largest = max((f.total.amount for f in totals if f.total), default=0)
        stepped = sum(max(f.total.amount - f.before.amount, 0) for f in totals if f.total and f.before)
        by_status: dict[str, dict[str, int]] = defaultdict(dict)
        for fact in self.facts:
            if isinstance(fact, PaymentRefunded) and fact.refund_id and fact.amount:
                by_status[fact.status][fact.refund_id] = fact.amount.amount
        failed = by_status["failed"] | by_status["canceled"]
        individual = {**by_status["pending"], **by_status["requires_action"], **by_status["succeeded"]}
        refunded = sum(amount for refund, amount in individual.items() if refund not in failed)
        failed_amount = sum(failed.values())
        return max(largest - failed_amount, stepped - failed_amount, refunded, 0)

    @cached_property
    def disputes(self) -> Mapping[str, DisputeStatus]:
        """dispute id -> status"""
        found: dict[str, DisputeStatus] = {}
        for fact in self.facts:
            if isinstance(fact, (PaymentDisputeOpened, PaymentDisputeClosed)):
                current = found.get(fact.dispute_id)
                if current is None or _DISPUTE_RANK[fact.status] > _DISPUTE_RANK[current]:
                    found[fact.dispute_id] = fact.status
        return found

    @property
    def funds_withdrawn(self) -> frozenset[str]:
        """The disputes whose amount was withdrawn from the balance and not returned."""
        events = [f for f in self.facts if isinstance(f, (PaymentDisputeOpened, PaymentDisputeClosed))]
        back = {fact.dispute_id for fact in events if fact.funds == "reinstated"}
        return frozenset(fact.dispute_id for fact in events if fact.funds == "withdrawn") - back

    @property
    def disputed(self) -> bool:
        return any(_DISPUTE_RANK[status] < _DISPUTE_RANK["warning_closed"] for status in self.disputes.values())

    @property
    def lost(self) -> bool:
        return "lost" in self.disputes.values()
