"""Installments that checkout collects: what is due is one thing, and each attempt to collect it is another. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from contracts.payments import PaymentEvent, PaymentExpired, PaymentFailed
from ledger.payment import Payment
from ledger.purchase import Purchase


@dataclass(frozen=True)
class Installment:
    """An amount due, with all attempts to collect it."""

    due: Payment
    under_way: bool

    @property
    def owed(self) -> bool:
        """Neither paid, nor given up, nor on its way. (It outlives the sessions that it was to be paid with.)"""
        given_up = any(isinstance(fact, PaymentExpired) and not fact.refs.of_payment() for fact in self.due.facts)
        return self.due.settled is None and not given_up and not self.under_way


def installments_of(purchase: Purchase) -> Iterator[Installment]:
    """In a stable order."""
    dues: list[tuple[set[str], list[PaymentEvent]]] = []
    for fact in purchase.facts:
        own = _keys(fact)
        joined = [fact]
        apart = []
        for due in dues:
            if due[0] & own:
                own |= due[0]
                joined = due[1] + joined
            else:
                apart.append(due)
        dues = [*apart, (own, joined)] if own else apart
    for _, facts in dues:
        if any(fact.refs.installment for fact in facts):
            all_of_it = Payment(tuple(facts))
            yield Installment(all_of_it, any(p.under_way for p in purchase.payments if p.refs & all_of_it.refs))


def names(payment: Payment) -> frozenset[str]:
    """The installments that it is about; none for a payment that is no installment of ours."""
    return frozenset(f"installment:{fact.refs.installment}" for fact in payment.facts if fact.refs.installment)


def word_of_checkout(fact: PaymentFailed) -> bool:
    """Whether it says what happens next, and where to pay. The gateway only tells that an attempt has failed."""
    return fact.refs.installment is not None and fact.pay_url is not None


def _keys(fact: PaymentEvent) -> set[str]:
    installment = {f"installment:{fact.refs.installment}"} if fact.refs.installment else set()
    return set(fact.refs.of_payment()) | installment
