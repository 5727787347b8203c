"""Plans, due dates, what follows an attempt, and what goes back: for every amount and every moment."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkout.cancellation_policy import cancellation_policy
from checkout.catalog.item import Item, PaymentPlan
from checkout.installments import rules
from checkout.installments.domain import (
    FULL,
    RETRIES,
    Again,
    Become,
    Close,
    DebitFailed,
    GiveUp,
    Keep,
    Reopen,
    Row,
    Told,
    after_attempt,
    detect_plan,
    fitting,
    follow,
    months_later,
    refund_by_policy,
    schedule,
    spread,
)
from checkout.installments.rules import Rules
from contracts.money import Money, usd

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
moments = st.integers(1_577_836_800, 2_051_222_400).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
plans = st.one_of(
    st.just(FULL),
    st.just(PaymentPlan(type="subscription")),
    st.builds(
        PaymentPlan,
        type=st.just("installments"),
        installments=st.integers(2, 60),
        interval_days=st.none() | st.integers(1, 366),
    ),
    st.builds(
        PaymentPlan,
        type=st.just("deposit_installments"),
        installments=st.integers(1, 60),
        deposit_percent=st.integers(1, 99),
        interval_days=st.none() | st.integers(1, 366),
    ),
)


def item(**values: object) -> Item:
    known = {"id": uuid4(), "slug": "x", "name": "X", "price": 489_000, "currency": "usd"}
    return Item.model_validate({**known, **values})


@given(plans, st.integers(10_000, 99_999_999), moments)
def test_what_is_due_is_exactly_the_price(plan: PaymentPlan, amount: int, start: datetime) -> None:
    dues = schedule(plan, usd(amount), start)
    assert sum(due.amount.amount for due in dues) == amount
    assert all(due.amount.amount > 0 for due in dues)
    assert [due.position for due in dues] == list(range(1, len(dues) + 1))
    assert dues[0].due_at == start
    assert all(earlier.due_at < later.due_at for earlier, later in pairwise(dues))
    wanted = (plan.installments or 1) + (plan.type == "deposit_installments")
    assert len(dues) == wanted


@given(plans, st.integers(1, 99_999_999), moments)
def test_what_fits_can_be_asked_for(plan: PaymentPlan, amount: int, start: datetime) -> None:
    dues = schedule(fitting(plan, usd(amount)), usd(amount), start)
    assert sum(due.amount.amount for due in dues) == amount
    assert len(dues) == 1 or all(due.amount.amount >= 50 for due in dues)


@given(moments, st.integers(0, 60))
def test_months_keep_the_day(start: datetime, months: int) -> None:
    later = months_later(start, months)
    assert (later.year * 12 + later.month) - (start.year * 12 + start.month) == months
    last = calendar.monthrange(later.year, later.month)[1]
    assert later.day == min(start.day, last)
    assert later.timetz() == start.timetz()


def test_the_last_of_january_comes_back_in_march() -> None:
    plan = PaymentPlan(type="installments", installments=4)
    assert [due.due_at.strftime("%d.%m.") for due in schedule(plan, usd(1000), NOW)] == [
        "31.01.",
        "28.02.",
        "31.03.",
        "30.04.",
    ]


def test_a_deposit_comes_first_and_the_remainder_is_in_one_of_them() -> None:
    plan = PaymentPlan(type="deposit_installments", installments=3, deposit_percent=20)
    dues = schedule(plan, usd(10_001), NOW)
    assert [(due.kind, due.amount.amount) for due in dues] == [
        ("deposit", 2001),
        ("installment", 2668),
        ("installment", 2666),
        ("installment", 2666),
    ]


def test_nothing_is_due_for_nothing() -> None:
    assert schedule(FULL, usd(0), NOW) == []


def test_an_amount_that_cannot_be_split_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be paid by"):
        schedule(PaymentPlan(type="installments", installments=5), usd(4), NOW)


@pytest.mark.parametrize(
    ("values", "tier", "plan"),
    [
        ({}, None, PaymentPlan(type="deposit_installments", deposit_percent=20, installments=5)),
        ({}, "student", PaymentPlan(type="installments", installments=6)),
        ({"price": 199_999}, None, PaymentPlan(type="installments", installments=3)),
        ({"price": 74_999}, None, FULL),
        ({"currency": "eur"}, None, FULL),
        ({"kind": "product"}, None, FULL),
        ({"auto_assign_payment_plan": False}, None, FULL),
        ({"kind": "membership", "tier": "student", "price": 1900}, None, PaymentPlan(type="subscription")),
        (
            {"payment_plan": {"type": "installments", "installments": 2}},
            None,
            PaymentPlan(type="installments", installments=2),
        ),
        (
            {"payment_plan": {"type": "full"}, "auto_assign_payment_plan": False},
            "career",
            FULL,
        ),
    ],
)
def test_the_plan_is_the_items_own_or_the_rules(values: dict[str, object], tier: str | None, plan: PaymentPlan) -> None:
    assert detect_plan(item(**values), tier, rules.checked_in()) == plan


def test_a_price_band_names_its_currency() -> None:
    with pytest.raises(ValueError, match="needs its currency"):
        Rules.model_validate(
            {"as_of": "2026-11-01", "rules": [{"kinds": ["course"], "from": 1, "plan": {"type": "full"}}]}
        )


@given(moments)
def test_it_is_tried_again_1_3_and_7_days_after_the_first_attempt(first: datetime) -> None:
    at, days = first, []
    for attempts in range(1, 10):
        match after_attempt(attempts=attempts, now=at):
            case Again(at=again):
                at = again
                days.append((at - first).days)
            case GiveUp():
                break
    assert days == [1, 3, 7]
    assert attempts == len(RETRIES) + 1


rows = st.builds(
    Row,
    status=st.sampled_from(["open", "processing", "overdue", "paused", "paid", "waived", "canceled"]),
    closed_because=st.sampled_from([None, "ended", "covered"]),
    failed_debits=st.integers(0, 3),
)
told = st.builds(
    Told,
    settled=st.booleans(),
    waived=st.booleans(),
    under_way=st.booleans(),
    failed_debits=st.integers(0, 3),
    ended=st.booleans(),
    covered=st.booleans(),
)


def _apply(row: Row, facts: Told) -> Row:
    match follow(row, facts):
        case Keep():
            return row
        case Become(status=status):
            return Row(status=status, failed_debits=row.failed_debits)
        case Close(because=because):
            return Row(status="canceled", closed_because=because, failed_debits=row.failed_debits)
        case Reopen():
            return Row(status="open", failed_debits=row.failed_debits)
        case DebitFailed(failed=failed):
            return Row(status="open", failed_debits=failed)


@given(rows, told)
def test_the_same_facts_again_change_nothing(row: Row, facts: Told) -> None:
    for _ in range(3):
        row = _apply(row, facts)
    assert _apply(row, facts) == row


@given(rows, told)
def test_money_that_has_come_is_never_forgotten(row: Row, facts: Told) -> None:
    after = _apply(row, facts)
    if row.status in ("paid", "waived"):
        assert after.status == row.status
    if facts.settled:
        assert after.status in ("paid", "waived")


@given(rows, told)
def test_nothing_is_asked_for_once_it_is_over(row: Row, facts: Told) -> None:
    for _ in range(3):
        row = _apply(row, facts)
    if (facts.ended or facts.covered) and not facts.under_way:
        assert row.status in ("paid", "waived", "canceled")


@given(st.integers(0, 10**8), st.integers(0, 10**8), st.integers(0, 10**6))
def test_never_more_goes_back_than_was_paid(paid: int, refunded: int, hours: int) -> None:
    policy = cancellation_policy("14:100,30:50")
    back = refund_by_policy(
        policy=policy, paid=paid, refunded=refunded, first_paid_at=NOW, now=NOW + timedelta(hours=hours)
    )
    assert 0 <= back <= max(paid - refunded, 0)


@pytest.mark.parametrize(
    ("days", "refunded", "back"),
    [(0, 0, 10_001), (14, 0, 10_001), (15, 0, 5000), (30, 0, 5000), (31, 0, 0), (15, 5000, 0), (15, 1000, 4000)],
)
def test_the_policy_in_days(days: int, refunded: int, back: int) -> None:
    policy = cancellation_policy("14:100, 30:50")
    now = NOW + timedelta(days=days)
    assert refund_by_policy(policy=policy, paid=10_001, refunded=refunded, first_paid_at=NOW, now=now) == back


@pytest.mark.parametrize("text", ["14", "14:101", "30:50,14:100", "14:50,30:100", "a:b", "14:100;30:50", "-1:50"])
def test_a_policy_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        cancellation_policy(text)


def test_no_policy_gives_nothing_back() -> None:
    assert cancellation_policy("") == ()
    assert refund_by_policy(policy=(), paid=100, refunded=0, first_paid_at=NOW, now=NOW) == 0


@given(st.integers(0, 1000), st.lists(st.integers(0, 300), max_size=6))
def test_payments_give_in_their_order_and_never_more_than_is_left(amount: int, left: list[int]) -> None:
    named = list(enumerate(left))
    if amount > sum(left):
        with pytest.raises(ValueError, match="more than is left"):
            spread(amount, named)
        return
    parts = spread(amount, named)
    assert sum(part.amount for part in parts) == amount
    assert all(0 < part.amount <= left[part.payment] for part in parts)
    assert [part.payment for part in parts] == sorted(part.payment for part in parts)


def test_currencies_are_not_mixed() -> None:
    dues = schedule(PaymentPlan(type="installments", installments=2), Money(amount=999, currency="jpy"), NOW)
    assert {due.amount.currency for due in dues} == {"jpy"}
