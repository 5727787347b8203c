"""Payment events of one purchase, and what they mean, in any order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tests.ledger.payment_histories import BARBER, PRICE, START, STUDENT, numbered

from contracts.money import Money, usd
from contracts.payments import (
    EndedBy,
    PaymentDisputeClosed,
    PaymentEvent,
    PaymentRefs,
    PaymentRefunded,
    PaymentSucceeded,
    PurchaseEnded,
)
from ledger.facts import fold
from ledger.policy import DEFAULT_POLICY, Policy
from ledger.purchase import Purchase
from ledger.verdict import verdicts

OURS = UUID("00000000-0000-4000-8000-00000000000a")
SHARE = usd(PRICE.amount // 4)
Judged = tuple[str, str | None]


def day(n: float) -> datetime:
    return START + timedelta(days=n)


def fields(**changes: Any) -> dict[str, Any]:
    return {"purchase_id": OURS, "student_id": STUDENT, "program": BARBER, "price": PRICE, **changes}


def plan_fields(**changes: Any) -> dict[str, Any]:
    return fields(**{"installments": 4, "due": SHARE} | changes)


def paid(n: int, amount: Money, *, at: float = 0, installment: str | None = None, **changes: Any) -> PaymentEvent:
    refs = PaymentRefs(payment_intent=f"pi_{n}", charge=f"ch_{n}", installment=installment)
    return PaymentSucceeded(refs=refs, amount=amount, as_of=day(at), **(fields() | changes))


def installment(n: int, *, at: float = 0, round: int = 1, intent: int | None = None) -> PaymentEvent:
    return paid(intent or n, SHARE, at=at, installment=f"due_{n}:{round}", **plan_fields())


def refunded(n: int, total: int, *, at: float = 0) -> PaymentEvent:
    return PaymentRefunded(refs=PaymentRefs(charge=f"ch_{n}"), total=usd(total), as_of=day(at))


def lost(n: int, reason: str = "fraudulent", *, amount: Money = SHARE, at: float = 0) -> PaymentEvent:
    return PaymentDisputeClosed(
        refs=PaymentRefs(charge=f"ch_{n}"),
        dispute_id=f"du_{n}",
        status="lost",
        reason=reason,
        amount=amount,
        as_of=day(at),
    )


def ended(by: EndedBy) -> PaymentEvent:
    return PurchaseEnded(refs=PaymentRefs(), by=by, reason="moved away", **fields())


def judged(*events: PaymentEvent, policy: Policy = DEFAULT_POLICY) -> Judged:
    """The same in any order of the events and of their ids; there is one enrollment at most."""
    found = {judged_once(order, policy) for order in itertools.islice(itertools.permutations(events), 24)}
    assert len(found) == 1, found
    return found.pop()


def judged_once(events: Sequence[PaymentEvent], policy: Policy = DEFAULT_POLICY) -> Judged:
    answers = [(str(each.standing), each.reason) for each in verdicts(numbered(events), policy).values()]
    assert len(answers) < 2
    return answers[0] if answers else ("none", None)


def only(*events: PaymentEvent) -> Purchase:
    (purchase,) = fold(numbered(events))
    return purchase


ACTIVE, UNDERPAID, PAST_DUE = ("active", None), ("pending", "underpaid"), ("paused", "past_due")
REFUNDED, CANCELED, DISPUTE_LOST = ("withdrawn", "refunded"), ("withdrawn", "canceled"), ("withdrawn", "dispute_lost")
