"""The decisions, without anything around them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkout.purchases import domain
from checkout.purchases.domain import Abandon, Enrollment, GoOn, Purchase, Refuse, Replace, Start, State, Wish, begin
from contracts.money import Money, usd
from contracts.payments import (
    PaymentEvent,
    PaymentExpired,
    PaymentFailed,
    PaymentPending,
    PaymentRefs,
    PaymentRefunded,
    PaymentSucceeded,
)
from contracts.people import Program
from ledger.facts import fold
from ledger.policy import DEFAULT_POLICY

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
STUDENT = uuid4()
SLUG = "dsp"
FULL = Wish(student_id=STUDENT, program=Program(slug=SLUG, id="p"), amount=usd(432_500))
PLAN = Wish(
    student_id=STUDENT, program=Program(slug=SLUG, id="p"), amount=usd(432_500), payment_type="plan", installments=4
)
WIOA = Wish(
    student_id=STUDENT,
    program=Program(slug=SLUG, id="p"),
    amount=usd(432_500),
    payer="sponsor",
    funding_source="WIOA",
)


def purchase(wish: Wish, state: State, *, age: timedelta = timedelta(minutes=5)) -> Purchase:
    return Purchase(id=uuid4(), wish=wish, state=state, session_id="cs_1", created_at=NOW - age)


def decide(wish: Wish, *known: Purchase, enrollment: Enrollment | None = None) -> domain.Decision:
    return begin(wish=wish, enrollments=[enrollment] if enrollment else [], purchases=known, now=NOW)


def test_nothing_in_the_way() -> None:
    assert decide(FULL) == Start()
    over = [purchase(FULL, state) for state in (State.EXPIRED, State.FAILED, State.WITHDRAWN)]
    assert decide(FULL, *over) == Start()


@pytest.mark.parametrize("status", ["active", "paused", "completed"])
def test_a_enrollment_is_in_the_way(status: Any) -> None:
    assert decide(FULL, enrollment=Enrollment(slug=SLUG, status=status, purchase_id=None)) == Refuse("already_enrolled")


def test_money_on_its_way_is_in_the_way() -> None:
    assert decide(FULL, enrollment=Enrollment(slug=SLUG, status="pending", purchase_id=None)) == Refuse(
        "payment_in_progress"
    )
    for state in (State.PROCESSING, State.PAID):
        assert decide(PLAN, purchase(FULL, state)) == Refuse("payment_in_progress")


def test_a_enrollment_that_was_withdrawn_is_not() -> None:
    ended, other = purchase(FULL, State.PAID), purchase(FULL, State.PAID)
    enrollment = Enrollment(slug=SLUG, status="withdrawn", purchase_id=ended.id)
    assert decide(FULL, ended, enrollment=enrollment) == Start()
    assert decide(FULL, other, ended, enrollment=enrollment) == Refuse("payment_in_progress"), (
        "a later one is paid, and not seated"
    )
    assert decide(FULL, ended, other, enrollment=enrollment) == Start(), "an earlier one had its enrollment before"


def test_a_plan_without_its_enrollment_is_in_the_way_until_it_is_canceled() -> None:
    for state in (State.WITHDRAWN, State.PAID):
        running = purchase(PLAN, state)
        over = replace(running, plan_canceled=True)
        gone = Enrollment(slug=SLUG, status="withdrawn", purchase_id=running.id)
        for wish in (FULL, PLAN, WIOA):
            assert decide(wish, running, enrollment=gone) == Refuse("plan_being_canceled")
            assert decide(wish, purchase(FULL, State.EXPIRED), running, enrollment=gone) == Refuse(
                "plan_being_canceled"
            )
            assert decide(wish, over, enrollment=gone) == Start()
    assert decide(FULL, purchase(PLAN, State.WITHDRAWN)) == Refuse("plan_being_canceled"), "it never had an enrollment"
    assert decide(FULL, purchase(PLAN, State.EXPIRED), purchase(PLAN, State.FAILED)) == Start()


def test_the_same_wish_goes_on_and_another_replaces() -> None:
    for state in (State.CREATED, State.SESSION_OPEN):
        known = purchase(FULL, state)
        assert decide(FULL, known) == GoOn(known)
        assert decide(PLAN, known) == Replace(known)
        assert decide(WIOA, known) == Replace(known)
        sponsored = purchase(WIOA, state)
        assert decide(WIOA, sponsored) == GoOn(sponsored)
        assert decide(FULL, sponsored) == Refuse("sponsor_payment_open")


def test_what_was_never_answered_is_given_up_after_a_day() -> None:
    old = purchase(FULL, State.CREATED, age=timedelta(hours=24))
    assert decide(FULL, old) == Abandon(old)
    shown = purchase(FULL, State.SESSION_OPEN, age=timedelta(hours=24))
    assert decide(FULL, shown) == GoOn(shown), "Stripe is asked whether it is still open"


@given(amount=st.integers(min_value=4, max_value=99_999_999))
def test_installments_sum_to_the_price(amount: int) -> None:
    each = domain.charges(amount=usd(amount), payment_type="plan")
    assert (len(each), sum(money.amount for money in each)) == (4, amount)
    assert each[1] == each[2] == each[3]
    assert 0 <= each[0].amount - each[1].amount < 4


@given(amount=st.integers(min_value=1, max_value=10**12), written=st.integers(min_value=0, max_value=10**12))
def test_only_the_right_price_is_the_same(amount: int, written: int) -> None:
    assert domain.same_price(Decimal(amount) / 100, usd(amount))
    assert domain.same_price(Decimal(amount), usd(amount)), "as the list of programs gives it"
    assert domain.same_price(Decimal(written) / 100, usd(amount)) is (written in (amount, amount * 100))
    assert not domain.same_price(None, usd(amount))
    assert domain.same_price(Decimal(amount), Money(amount=amount, currency="jpy"))


REFS = PaymentRefs(checkout_session="cs_1", payment_intent="pi_1")
TOLD: dict[str, Any] = {"refs": REFS, "purchase_id": uuid4(), "student_id": STUDENT}
OPENED_AND_LEFT = [PaymentFailed(**TOLD, code="card_declined"), PaymentExpired(**TOLD)]
PAID = [PaymentFailed(**TOLD, code="card_declined"), PaymentSucceeded(**TOLD, amount=usd(100))]
SETTLED_LATER = [PaymentPending(**TOLD), PaymentSucceeded(**TOLD, amount=usd(100))]
BOUNCED = [PaymentPending(**TOLD), PaymentFailed(**TOLD, code="async_payment_failed", final=True)]
RETURNED = [
    PaymentSucceeded(**TOLD, amount=usd(100)),
    PaymentRefunded(**TOLD, total=usd(100), before=usd(0), of=usd(100)),
]
PARTLY = [PaymentSucceeded(**TOLD, amount=usd(100)), PaymentRefunded(**TOLD, total=usd(40), of=usd(100))]


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ([PaymentFailed(**TOLD, code="card_declined")], None),
        ([PaymentPending(**TOLD)], State.PROCESSING),
        (OPENED_AND_LEFT, State.EXPIRED),
        (PAID, State.PAID),
        (SETTLED_LATER, State.PAID),
        (BOUNCED, State.FAILED),
        (RETURNED, State.WITHDRAWN),
        (PARTLY, State.PAID),
    ],
)
def test_the_state_follows_the_facts_in_any_order(told: list[PaymentEvent], state: State | None) -> None:
    for order in permutations(told):
        (found,) = fold({f"evt_{told.index(event)}": event for event in order})
        assert domain.state_of(found, DEFAULT_POLICY, how="page") is state


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ([PaymentPending(**TOLD), PaymentFailed(**TOLD, code="debit_not_authorized")], State.AWAITING_PAYMENT),
        ([*BOUNCED, PaymentFailed(**TOLD, code="canceled", final=True)], State.FAILED),
        (SETTLED_LATER, State.PAID),
        ([PaymentFailed(**TOLD, code="card_declined")], None),
    ],
)
def test_an_intent_can_be_paid_until_it_has_failed_for_good(told: list[PaymentEvent], state: State | None) -> None:
    for order in permutations(told):
        (found,) = fold({f"evt_{told.index(event)}": event for event in order})
        assert domain.state_of(found, DEFAULT_POLICY, how="intent") is state


@pytest.mark.parametrize(
    ("cost", "price", "right"),
    [
        (usd(432_500), usd(489_000), usd(432_500)),
        (None, usd(489_000), usd(29_500)),
        (None, Money(amount=489_000, currency="eur"), Money(amount=489_000, currency="eur")),
    ],
)
def test_what_a_sponsor_pays(cost: Money | None, price: Money, right: Money) -> None:
    assert domain.funding_amount(total_cost=cost, price=price) == right
