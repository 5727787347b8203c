"""One payment: what the events that name it say together, in any order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
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
from contracts.people import Payer

EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)

# The status of a dispute is the latest one; within a second, or without times, the one with the highest rank.
# Stripe SDK 16.1, Dispute.status: a lost dispute may be appealed, and then won.
DISPUTE_RANK: Mapping[DisputeStatus, int] = {
    "warning_needs_response": 0,
    "warning_under_review": 1,
    "needs_response": 2,
    "under_review": 3,
    "warning_closed": 4,
    "prevented": 5,
    "lost": 6,
    "appeal_needs_response": 7,
    "appeal_under_review": 8,
    "won": 9,
}
LOST_DISPUTES: frozenset[DisputeStatus] = frozenset({"lost", "appeal_needs_response", "appeal_under_review"})
"""The money is gone; an appeal may bring it back."""

BANK_RETURNS = frozenset(
    {
        "bank_cannot_process",
        "check_returned",
        "customer_initiated",
        "debit_not_authorized",
        "incorrect_account_details",
        "insufficient_funds",
    }
)
"""Reasons of disputes that are late returns of bank debits (Stripe SDK 16.1, Dispute.reason). They are final."""


@dataclass(frozen=True, kw_only=True)
class LostDispute:
    """`amount`: minor units. `at`: when it was first reported as lost; LATEST if no event says."""

    amount: int
    reason: str
    at: datetime

    @property
    def is_return(self) -> bool:
        """The payer's bank has returned a debit that had settled."""
        return self.reason in BANK_RETURNS


@dataclass(frozen=True)
class Payment:
    """One payment: all events whose payment references are connected."""

    facts: tuple[PaymentEvent, ...]

    @cached_property
    def refs(self) -> frozenset[str]:
        return frozenset().union(*(fact.refs.of_payment() for fact in self.facts))

    @cached_property
    def _successes(self) -> tuple[PaymentSucceeded, ...]:
        return tuple(fact for fact in self.facts if isinstance(fact, PaymentSucceeded))

    def payer_of(self, purchase_payer: Payer) -> Payer:
        """Who pays it, of a purchase with this payer. A sponsor's purchase may have a co-pay: an installment that its
        events say the student pays."""
        named = {fact.payer for fact in self.facts if fact.payer}
        return "student" if named == {"student"} and self.installments else purchase_payer

    # --- money received -----------------------------------------------------------------------------------------------

    @cached_property
    def settled(self) -> Money | None:
        """The amount received; None if nothing was.

        A session, its intent and its charge report the same money. An invoice may be paid by several intents: their
        sum counts, or what the invoice itself reports if that is more.
        """
        named_together = ((fact.refs.charge, fact.refs.payment_intent) for fact in self.facts)
        intent_of = {charge: intent for charge, intent in named_together if charge and intent}
        of_intents: dict[tuple[str, str], int] = {}
        whole: dict[str, int] = {}
        for fact in self._successes:
            currency, amount = fact.amount.currency, fact.amount.amount
            if intent := fact.refs.payment_intent or intent_of.get(fact.refs.charge or "") or fact.refs.charge:
                of_intents[currency, intent] = max(of_intents.get((currency, intent), 0), amount)
            else:
                whole[currency] = max(whole.get(currency, 0), amount)
        sums: dict[str, int] = defaultdict(int)
        for (currency, _), amount in of_intents.items():
            sums[currency] += amount
        received = [
            Money(amount=max(sums.get(currency, 0), whole.get(currency, 0)), currency=currency)
            for currency in sums.keys() | whole.keys()
        ]
        return max(received, key=lambda money: (money.amount, money.currency), default=None)

    @cached_property
    def received_at(self) -> datetime:
        return min((fact.as_of or EARLIEST for fact in self._successes), default=LATEST)

    @cached_property
    def value(self) -> int:
        """What counts toward the price, in minor units: without tax, with what a discount or a credit balance paid."""
        if self.settled is None:
            return 0
        return self.settled.amount - _amount(self.tax) + _amount(self._most("discount")) + _amount(self._most("credit"))

    @property
    def tax(self) -> Money | None:
        """The tax included in the amount received; None if no event says."""
        return self._most("tax")

    def _most(self, field: str) -> Money | None:
        named: list[Money] = [money for fact in self._successes if (money := getattr(fact, field)) is not None]
        return max(named, key=lambda money: (money.amount, money.currency), default=None)

    @property
    def method(self) -> str | None:
        named = {f.method for f in self.facts if isinstance(f, (PaymentSucceeded, PaymentPending)) and f.method}
        return min(named, default=None)

    @property
    def manual(self) -> bool:
        return any(fact.refs.manual for fact in self.facts)

    # --- owed ---------------------------------------------------------------------------------------------------------

    @cached_property
    def past_due(self) -> bool:
        """An invoice or installment whose last retry failed, and that was neither paid since nor waived.

        (A failed intent by itself is abandoned, not owed; a canceled one is not a failure.)
        """
        failed = [fact for fact in self.facts if isinstance(fact, PaymentFailed) and fact.final]
        owed = [fact for fact in failed if (fact.refs.invoice or fact.refs.installment) and fact.code != "canceled"]
        if not owed or self.voided:
            return False
        if self.settled is None:
            return True
        if any(fact.purchase_id for fact in self._successes):
            return False
        # only links of an invoice to intents: some of it may be paid, which the invoice itself does not report
        return self.settled.amount < max(_amount(fact.amount) for fact in owed)

    @cached_property
    def voided(self) -> bool:
        """An installment outlives the session or invoice it was to be paid with: only an event without them ends it."""
        ended = [fact for fact in self.facts if isinstance(fact, PaymentExpired)]
        if any(fact.refs.installment for fact in self.facts):
            return any(not fact.refs.of_payment() for fact in ended)
        return bool(ended)

    @cached_property
    def installments(self) -> frozenset[str]:
        """The ids of the installments that it pays or fails to pay, without their rounds."""
        return frozenset(fact.refs.installment.split(":")[0] for fact in self.facts if fact.refs.installment)

    # --- attempts -----------------------------------------------------------------------------------------------------

    @property
    def submitted(self) -> bool:
        """A bank debit was submitted at some time, with any outcome or none yet."""
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

    # --- money returned -----------------------------------------------------------------------------------------------

    @cached_property
    def _refunds(self) -> tuple[PaymentRefunded, ...]:
        return tuple(fact for fact in self.facts if isinstance(fact, PaymentRefunded))

    @cached_property
    def refund_times(self) -> frozenset[datetime]:
        return frozenset(fact.as_of or LATEST for fact in self._refunds)

    @cached_property
    def refunded(self) -> int:
        """The amount paid back, in minor units, without refunds that failed."""
        return self.refunded_by(LATEST)

    def refunded_by(self, time: datetime) -> int:
        """The amount paid back until then, in minor units, without refunds that have failed since.

        The maximum of three figures, each of which may miss an event and none of which overstates: the largest
        cumulative total, the sum of the increments of the totals, and the sum of the individual refunds.
        """
        until = [fact for fact in self._refunds if (fact.as_of or LATEST) <= time]
        totals = [fact for fact in until if fact.total is not None]
        largest = max((_amount(fact.total) for fact in totals), default=0)
        stepped = sum(max(f.total.amount - f.before.amount, 0) for f in totals if f.total and f.before)
        failed = _individual(self._refunds, "failed", "canceled")
        individual = _individual(until, "pending", "requires_action", "succeeded")
        refunded = sum(amount for refund, amount in individual.items() if refund not in failed)
        failed_amount = sum(failed.values())
        return max(largest - failed_amount, stepped - failed_amount, refunded, 0)

    # --- disputes -----------------------------------------------------------------------------------------------------

    @cached_property
    def _dispute_facts(self) -> Mapping[str, tuple[PaymentDisputeOpened | PaymentDisputeClosed, ...]]:
        """dispute id -> its events, the last one is current"""
        found: dict[str, list[PaymentDisputeOpened | PaymentDisputeClosed]] = defaultdict(list)
        for fact in self.facts:
            if isinstance(fact, (PaymentDisputeOpened, PaymentDisputeClosed)):
                found[fact.dispute_id].append(fact)
        return {id: tuple(sorted(facts, key=_dispute_order)) for id, facts in found.items()}

    @cached_property
    def disputes(self) -> Mapping[str, DisputeStatus]:
        """dispute id -> status"""
        return {id: facts[-1].status for id, facts in self._dispute_facts.items()}

    @property
    def funds_withdrawn(self) -> frozenset[str]:
        """The disputes whose amount was withdrawn from the balance and not returned."""
        events = [fact for facts in self._dispute_facts.values() for fact in facts]
        back = {fact.dispute_id for fact in events if fact.funds == "reinstated"}
        return frozenset(fact.dispute_id for fact in events if fact.funds == "withdrawn") - back

    @property
    def disputed(self) -> bool:
        return any(DISPUTE_RANK[status] < DISPUTE_RANK["warning_closed"] for status in self.disputes.values())

    @cached_property
    def lost_disputes(self) -> tuple[LostDispute, ...]:
        """Those that are lost now. An appeal that is won makes a dispute won."""
        return tuple(
            LostDispute(
                amount=facts[-1].amount.amount,
                reason=facts[-1].reason,
                at=min(fact.as_of or LATEST for fact in facts if fact.status in LOST_DISPUTES),
            )
            for facts in self._dispute_facts.values()
            if facts[-1].status in LOST_DISPUTES
        )

    @property
    def lost(self) -> bool:
        return bool(self.lost_disputes)

    @property
    def lost_amount(self) -> int:
        """Minor units, never more than was received."""
        return min(sum(dispute.amount for dispute in self.lost_disputes), _amount(self.settled))

    @property
    def net(self) -> int:
        """What the school has of it, in minor units: received, and neither refunded nor lost."""
        return max(_amount(self.settled) - self.refunded - self.lost_amount, 0)


def _amount(money: Money | None) -> int:
    return 0 if money is None else money.amount


def _individual(refunds: Iterable[PaymentRefunded], *statuses: str) -> Mapping[str, int]:
    """refund id -> amount, of the refunds that were once reported in one of the statuses"""
    return {
        fact.refund_id: fact.amount.amount
        for fact in refunds
        if fact.status in statuses and fact.refund_id is not None and fact.amount is not None
    }


def _dispute_order(fact: PaymentDisputeOpened | PaymentDisputeClosed) -> tuple[datetime, int, str]:
    return fact.as_of or EARLIEST, DISPUTE_RANK[fact.status], fact.model_dump_json()
