"""A payment's row, from events in any order."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.money import Money
from contracts.payments import (
    PaymentDisputeClosed,
    PaymentDisputeOpened,
    PaymentEvent,
    PaymentExpired,
    PaymentFailed,
    PaymentPending,
    PaymentRefs,
    PaymentRefunded,
    PaymentSucceeded,
)
from contracts.people import Program
from reporting.figures.domain import PaymentRow, Status, becomes, payment_id, wanted

STUDENT, PURCHASE = UUID(int=1), UUID(int=2)
AT = datetime(2026, 11, 1, tzinfo=UTC)
SESSION = PaymentRefs(checkout_session="cs_1")
INTENT = PaymentRefs(payment_intent="pi_1")
BOTH = PaymentRefs(checkout_session="cs_1", payment_intent="pi_1")
CHARGE = PaymentRefs(payment_intent="pi_1", charge="ch_1")


def usd(amount: int) -> Money:
    return Money(amount=amount, currency="usd")


def row(*facts: PaymentEvent) -> PaymentRow:
    (only,) = [each for each in rows(*facts) if each.status is not Status.MERGED]
    return only


def rows(*facts: PaymentEvent) -> list[PaymentRow]:
    return list(wanted({f"evt_{number}": each for number, each in enumerate(facts)}).values())


PAID = PaymentSucceeded(
    refs=INTENT,
    purchase_id=PURCHASE,
    student_id=STUDENT,
    program=Program(slug="dsp", id="p-1"),
    amount=usd(10_000),
    method="card",
    as_of=AT,
)
DECLINED = PaymentFailed(refs=CHARGE, amount=usd(10_000), code="card_declined", as_of=AT - timedelta(hours=1))


def test_a_payment_that_was_declined_before_has_succeeded() -> None:
    found = row(DECLINED, PAID)
    assert (found.status, found.failures, found.failure_code) == (Status.SUCCEEDED, 1, "card_declined")
    assert (found.received, found.currency, found.method, found.occurred_at) == (10_000, "usd", "card", AT)
    assert (found.program_slug, found.kind, found.payer, found.purchase_id) == ("dsp", "program", "student", PURCHASE)


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ((DECLINED,), Status.FAILED),
        ((PaymentPending(refs=CHARGE, amount=usd(1)),), Status.PENDING),
        ((PaymentPending(refs=CHARGE, amount=usd(1)), DECLINED), Status.FAILED),
        ((PaymentExpired(refs=SESSION),), Status.EXPIRED),
        ((PaymentRefunded(refs=CHARGE, total=usd(5)),), Status.OPEN),
    ],
)
def test_a_payment_without_money(facts: tuple[PaymentEvent, ...], status: Status) -> None:
    found = row(*facts)
    assert (found.status, found.received, found.refunded, found.lost) == (status, 0, 0, 0)


def test_what_is_paid_back_is_never_more_than_was_received() -> None:
    refunds = (PaymentRefunded(refs=CHARGE, total=usd(4_000)), PaymentRefunded(refs=CHARGE, total=usd(99_000)))
    assert row(PAID, refunds[0]).refunded == 4_000
    assert row(PAID, *refunds).refunded == 10_000


@pytest.mark.parametrize(("status", "lost"), [("lost", 10_000), ("won", 0)])
def test_a_dispute_counts_whatever_its_outcome(status: str, lost: int) -> None:
    dispute = PaymentDisputeOpened(
        refs=CHARGE, dispute_id="dp_1", status="needs_response", amount=usd(10_000), as_of=AT
    )
    closed = dispute.model_dump() | {"status": status, "as_of": AT + timedelta(days=9)}
    closed = {name: value for name, value in closed.items() if name != "evidence_due_by"}
    found = row(PAID, dispute, PaymentDisputeClosed.model_validate(closed))
    assert (found.disputed, found.lost) == (True, lost)


def test_an_inquiry_is_no_dispute() -> None:
    inquiry = PaymentDisputeOpened(refs=CHARGE, dispute_id="dp_1", status="warning_needs_response", amount=usd(10_000))
    assert not row(PAID, inquiry).disputed


FACTS: tuple[PaymentEvent, ...] = (
    DECLINED,
    PAID,
    PaymentSucceeded(refs=BOTH, purchase_id=PURCHASE, student_id=STUDENT, amount=usd(10_000), as_of=AT),
    PaymentExpired(refs=SESSION),
    PaymentRefunded(refs=CHARGE, total=usd(2_500)),
)


@given(order=st.permutations(range(len(FACTS))))
def test_the_rows_are_the_same_in_any_order(order: list[int]) -> None:
    """The session and the intent are payments of their own until an event links them; one of their rows is left."""
    stored: dict[UUID, PaymentRow] = {}
    for count in range(1, len(order) + 1):
        facts = {f"evt_{number}": FACTS[number] for number in order[:count]}
        for id, each in wanted(facts).items():
            after = becomes(stored.get(id), each)
            if after is not None:
                stored[id] = after
    counted = [each for each in stored.values() if each.status is not Status.MERGED]
    assert counted == [row(*FACTS)]
    assert counted[0].id == payment_id("pi_1")
    assert all(each.received == 0 for each in stored.values() if each not in counted)


def test_two_payments_of_one_purchase_are_two_rows() -> None:
    second = PAID.model_copy(update={"refs": PaymentRefs(payment_intent="pi_2")})
    found = [each for each in rows(PAID, second) if each.status is not Status.MERGED]
    assert sorted(each.id for each in found) == sorted([payment_id("pi_1"), payment_id("pi_2")])
    assert len({each.purchase_id for each in found}) == 1
    assert not any(a.id == b.id for a, b in itertools.combinations(found, 2))
