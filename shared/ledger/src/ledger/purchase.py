"""A purchase: the payments made for one thing, and what they say of it together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal
from uuid import UUID

from contracts.money import Money
from contracts.payments import (
    EndedBy,
    PaymentEvent,
    PaymentExpired,
    PaymentFailed,
    PurchaseAccepted,
    PurchaseEnded,
    PurchaseRecorded,
    SubscriptionChanged,
)
from contracts.people import Contact, Payer, Program
from ledger.connected import connected
from ledger.loss import Loss, lost_by
from ledger.payment import EARLIEST, Payment
from ledger.policy import DEFAULT_POLICY, Policy
from ledger.programs import described_best, fullest, programs_of
from ledger.standing import Standing
from ledger.subscriptions import has_ended, latest_state

_ATTEMPT = (PaymentFailed, PaymentExpired)
"""Events of attempts that brought no money."""

UNDERPAID = "underpaid"
CONFLICTING_STUDENTS = "conflicting_students"
PAYMENT_FAILED = "payment_failed"

_REASON_OF_END: Mapping[EndedBy, str] = {"student": "refunded", "school": "canceled", "dispute": "dispute_lost"}


@dataclass(frozen=True)
class Purchase:
    """The payments for one thing: a single one, or the installments of a plan."""

    facts: tuple[PaymentEvent, ...]

    @cached_property
    def payments(self) -> tuple[Payment, ...]:
        of_payments = [fact for fact in self.facts if fact.refs.of_payment()]
        return tuple(Payment(part) for part in connected(of_payments, lambda fact: fact.refs.of_payment()))

    @cached_property
    def settled_payments(self) -> tuple[Payment, ...]:
        return tuple(payment for payment in self.payments if payment.settled is not None)

    @cached_property
    def id(self) -> UUID | None:
        """Ours when we started it. Otherwise derived from one of Stripe's ids: by which it is recorded, if it is. None
        while no event has named it."""
        named = {fact.purchase_id for fact in self.facts if fact.purchase_id}
        recorded = {fact.purchase_id for fact in self.facts if isinstance(fact, PurchaseRecorded)}
        return min(named, key=lambda id: (id.version == 5, id not in recorded, id.hex), default=None)

    @property
    def sort_key(self) -> str:
        """The same for the same facts, in any order."""
        refs = (ref for fact in self.facts for ref in fact.refs.of_payment())
        return self.id.hex if self.id else min(refs, default="")

    # --- who bought what ----------------------------------------------------------------------------------------------

    @cached_property
    def recorded(self) -> PurchaseRecorded | None:
        """How checkout has recorded a purchase that was not started here; the latest one is current."""
        records = [fact for fact in self.facts if isinstance(fact, PurchaseRecorded)]
        return max(records, key=lambda fact: (fact.as_of or EARLIEST, fact.model_dump_json()), default=None)

    @property
    def is_derived(self) -> bool:
        """No event names an id of ours."""
        return self.id is not None and self.id.version == 5

    @property
    def is_external(self) -> bool:
        """Not started here, or its events contradict checkout's own row, so that checkout has recorded it."""
        return self.is_derived or self.recorded is not None

    @property
    def is_unrecorded(self) -> bool:
        """What it costs whom is not decided yet, so it opens nothing."""
        return self.is_derived and self.recorded is None

    @cached_property
    def deciding_facts(self) -> tuple[PaymentEvent, ...]:
        """The events that decide who bought what: the record of a purchase that was not started here; those of the
        money received, otherwise of the money that is being processed, otherwise all. A declined or expired attempt
        decides nothing once there is money."""
        if self.recorded is not None:
            return (self.recorded,)
        deciding = self.settled_payments or [payment for payment in self.payments if payment.processing]
        if not deciding:
            return self.facts
        return tuple(fact for payment in deciding for fact in payment.facts if not isinstance(fact, _ATTEMPT))

    @cached_property
    def _naming_facts(self) -> tuple[PaymentEvent, ...]:
        """Those whose students and programs may have rows somewhere: a purchase without its record has none."""
        if self.is_derived:
            return tuple(fact for fact in self.facts if isinstance(fact, PurchaseRecorded))
        return self.facts

    @cached_property
    def named_student_ids(self) -> frozenset[UUID]:
        """Every student that some event names."""
        return _student_ids(self._naming_facts)

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
        """Every program that some event names, once."""
        return programs_of(self._naming_facts)

    @cached_property
    def program(self) -> Program | None:
        """What was bought, described by all events that name it."""
        return described_best(programs_of(self.deciding_facts) or self.programs, self.programs)

    @cached_property
    def contact(self) -> Contact | None:
        return fullest(fact.contact for fact in self.facts)

    @property
    def payer(self) -> Payer:
        facts = self.deciding_facts if self.is_external else self.facts
        return "sponsor" if any(fact.payer == "sponsor" for fact in facts) else "student"

    @property
    def funding_source(self) -> str | None:
        return min((fact.funding_source for fact in self.facts if fact.funding_source), default=None)

    @cached_property
    def _is_membership(self) -> bool:
        return self.program is not None and self.program.kind == "membership"

    # --- plans and subscriptions --------------------------------------------------------------------------------------

    @cached_property
    def installments(self) -> int | None:
        """How many payments the plan has in all; None when it is no plan."""
        named = (fact.installments for fact in self._facts_that_name("installments") if fact.installments)
        count = max(named, default=1)
        return count if count > 1 else None

    @cached_property
    def is_plan(self) -> bool:
        """Paid over time until the price is paid: in installments, or by a subscription that is no membership."""
        return not self._is_membership and bool(self.installments or self.subscriptions)

    @cached_property
    def _in_parts(self) -> bool:
        """Whether what is lost of one payment is owed again: of a plan, and beside a co-pay."""
        return self.is_plan or len({payment.payer_of(self.payer) for payment in self.settled_payments}) > 1

    @cached_property
    def subscriptions(self) -> frozenset[str]:
        return frozenset(fact.refs.subscription for fact in self.facts if fact.refs.subscription)

    @property
    def subscription(self) -> SubscriptionChanged | None:
        """The latest state of the subscription: an end is final, otherwise the latest `as_of` (None is the oldest)."""
        return latest_state(self.facts)

    @cached_property
    def subscription_ended(self) -> bool:
        """Stripe never brings a canceled subscription back, so this fact needs no order."""
        return has_ended(self.facts)

    # --- what is owed -------------------------------------------------------------------------------------------------

    @cached_property
    def price(self) -> Money | None:
        """What all of it costs, in a currency that was paid if there is one; None when no event says, and for a
        membership, which is paid by the period."""
        if self._is_membership:
            return None
        named = [fact.price for fact in self._facts_that_name("price") if fact.price]
        return max(named, key=lambda money: (money.currency in self.paid, money.amount, money.currency), default=None)

    @cached_property
    def due(self) -> Money | None:
        """What has to be paid before the enrollment opens; None when no event says.

        Of a plan: what its events state, else the regular installment. Of a membership: a period's price, if it was
        recorded. Otherwise the price.
        """
        if self._is_membership:
            return None if self.recorded is None else self.recorded.due
        if self.price is None or not self.is_plan:
            return self.price
        stated = [fact.due for fact in self._facts_that_name("due") if fact.due]
        largest = max((money.amount for money in stated if money.currency == self.price.currency), default=None)
        if largest is None:
            largest = self.price.amount // (self.installments or self.price.amount or 1)
        return Money(amount=min(largest, self.price.amount), currency=self.price.currency)

    def _facts_that_name(self, field: Literal["price", "installments", "due"]) -> Sequence[PaymentEvent]:
        """The deciding events that name it; if none does, the others, but no failed attempt beside received money."""
        if deciding := [fact for fact in self.deciding_facts if getattr(fact, field)]:
            return deciding
        return [fact for fact in self.facts if not isinstance(fact, _ATTEMPT)] if self.settled_payments else self.facts

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
        """What is owed since its last retry failed, or since a bank returned it: each an invoice, or an installment
        with all its attempts. Another round in which the same installment was paid makes it good."""
        missing = [due for due in self.amounts_due if due.past_due or self._is_owed_again(due)]
        if not missing or self._paid_in_full:
            return ()
        paid = {id for due in self.amounts_due if due.settled is not None and not due.lost for id in due.installments}
        return tuple(due for due in missing if not due.installments & paid)

    def _is_owed_again(self, due: Payment) -> bool:
        """Whether a dispute took an installment back: of a plan until it is paid again, of a membership until another
        payment is received."""
        if not due.lost:
            return False
        if not self._is_membership:
            return self._in_parts
        lost_at = max(dispute.at for dispute in due.lost_disputes)
        return not any(payment.received_at > lost_at and not payment.lost for payment in self.settled_payments)

    # --- money --------------------------------------------------------------------------------------------------------

    @cached_property
    def paid(self) -> Mapping[str, int]:
        """currency -> minor units received in all payments"""
        return self._sums(lambda payment: payment.settled.amount if payment.settled else 0)

    @cached_property
    def refunded(self) -> Mapping[str, int]:
        """currency -> minor units paid back, never more than was received"""
        return self._sums(lambda payment: min(payment.refunded, payment.settled.amount) if payment.settled else 0)

    def _sums(self, amount_of: Callable[[Payment], int]) -> Mapping[str, int]:
        found: dict[str, int] = defaultdict(int)
        for payment in self.settled_payments:
            if payment.settled is not None:
                found[payment.settled.currency] += amount_of(payment)
        return found

    @cached_property
    def value(self) -> int:
        """What counts toward the price, in minor units of its currency: received and not lost in a dispute, without
        tax, with discounts, credit, and what an admin has accepted as not owed. (A partial refund is the school's
        concession: it is not owed again.)"""
        owed = self.price or self.due
        if owed is None:
            return 0
        counted = sum(payment.value - payment.lost_amount for payment in self._received_in(owed.currency))
        return counted + max((money.amount for money in self._accepted if money.currency == owed.currency), default=0)

    def _received_in(self, currency: str) -> Sequence[Payment]:
        return [p for p in self.settled_payments if p.settled and p.settled.currency == currency]

    @property
    def _accepted(self) -> list[Money]:
        return [fact.amount for fact in self.facts if isinstance(fact, PurchaseAccepted)]

    @property
    def _is_free(self) -> bool:
        """An admin has accepted that nothing of it is owed: what was received was refunded, and the enrollment kept."""
        whole = 0 if self.price is None else self.price.amount
        currencies = self.paid.keys() if self.price is None else {self.price.currency}
        return any(money.currency in currencies and money.amount >= whole for money in self._accepted)

    @property
    def received_at(self) -> datetime | None:
        """When the first money was received; None if there is none, or if no event says."""
        first = min((payment.received_at for payment in self.settled_payments), default=EARLIEST)
        return None if first == EARLIEST else first

    @property
    def waived(self) -> bool:
        """Settled, and not by money."""
        settled = self.settled_payments
        return bool(settled) and all(payment.method == "waiver" for payment in settled)

    @cached_property
    def underpaid(self) -> bool:
        """Money was received, but less than what is due. What is waived is not owed."""
        if self.due is None or any(payment.method == "waiver" for payment in self.settled_payments):
            return False
        return bool(self.settled_payments) and self.value < self.due.amount

    @cached_property
    def _paid_in_full(self) -> bool:
        return self.price is not None and self.value >= self.price.amount

    @property
    def shortfall(self) -> Money | None:
        """How much less than due was received; None if it is enough."""
        if self.due is None or not self.underpaid:
            return None
        return Money(amount=self.due.amount - self.value, currency=self.due.currency)

    # --- standing -----------------------------------------------------------------------------------------------------

    @cached_property
    def ended(self) -> PurchaseEnded | None:
        """Who has ended it, and why: the school, the student, or a dispute that is still lost."""
        ends = [fact for fact in self.facts if isinstance(fact, PurchaseEnded)]
        in_force = [end for end in ends if end.by != "dispute" or any(payment.lost for payment in self.payments)]
        return min(in_force, key=lambda end: (end.by == "dispute", end.by, end.model_dump_json()), default=None)

    @property
    def initiated(self) -> bool:
        """The payer has acted: money was received, or was on its way at some time."""
        return not self.is_unrecorded and any(payment.settled or payment.submitted for payment in self.payments)

    def loss(self, policy: Policy = DEFAULT_POLICY) -> Loss | None:
        """Why all money that had been received at some time was gone. What arrives later opens nothing."""
        if self._is_free:
            policy = policy.model_copy(update={"full_refund_withdraws": False})
        return lost_by(self.settled_payments, policy, in_installments=self._in_parts, renews=self._is_membership)

    def standing(self, policy: Policy = DEFAULT_POLICY) -> tuple[Standing, str | None]:
        """The standing, and the reason for any but a plain one."""
        if self.is_unrecorded:
            return Standing.NONE, None
        if not self.settled_payments:
            return self._unsettled()
        if self.ended is not None:
            return Standing.WITHDRAWN, _REASON_OF_END[self.ended.by]
        if loss := self.loss(policy):
            return Standing.WITHDRAWN, loss
        if self._is_membership and self.subscription_ended:
            return Standing.WITHDRAWN, "membership_ended"
        if len(self.student_ids) > 1:
            return Standing.PENDING, CONFLICTING_STUDENTS
        if self.past_due and not self.never_opened:
            if policy.past_due_pauses:
                return Standing.PAUSED, "past_due"
        elif self.underpaid and (policy.lost_dispute_withdraws or self.never_opened):
            return Standing.PENDING, UNDERPAID
        if self._plan_broken_off:
            return Standing.PAUSED, "plan_canceled"
        if self._is_membership and self.subscription is not None and self.subscription.collection_paused:
            return Standing.PAUSED, "membership_paused"
        return Standing.ACTIVE, None

    def _unsettled(self) -> tuple[Standing, str | None]:
        if self.ended is None and any(payment.processing for payment in self.payments):
            return Standing.PENDING, CONFLICTING_STUDENTS if len(self.student_ids) > 1 else None
        if self.initiated:
            return Standing.WITHDRAWN, "canceled" if self.ended else PAYMENT_FAILED
        return Standing.NONE, None

    @property
    def never_opened(self) -> bool:
        """Less than what is due was ever received, also before a dispute took some of it: nothing to pause."""
        if self.due is None or not self.underpaid:
            return False
        lost = sum(payment.lost_amount for payment in self._received_in(self.due.currency))
        return self.value + lost < self.due.amount

    @property
    def _plan_broken_off(self) -> bool:
        """Its subscription has ended, and neither all installments nor all of the price was paid."""
        if not self.subscription_ended or not self.is_plan or self._paid_in_full:
            return False
        if self.installments is None:
            return self.price is not None
        return sum(payment.settled.amount > 0 for payment in self.payments if payment.settled) < self.installments


def _student_ids(facts: Iterable[PaymentEvent]) -> frozenset[UUID]:
    return frozenset(fact.student_id for fact in facts if fact.student_id)
