"""Payment plans, due dates, retries and refunds, for any amount and any time."""

from __future__ import annotations

import calendar
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.checkout.payment_plans import payment_plans

from checkout.cancellation_policy import cancellation_policy
from checkout.catalog.item import Item, PaymentPlan
from checkout.installments import rules
from checkout.installments.domain import (
    FULL,
    Become,
    Close,
    DebitFailed,
    Installment,
    InstallmentFacts,
    Keep,
    OweAgain,
    Reopen,
    allocate_refund,
    applicable_plan,
    decide,
    detect_plan,
    months_later,
    plan_installments,
    refund_by_policy,
)
from checkout.installments.rules import Rules
from contracts.money import Money, usd

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
moments = st.integers(1_577_836_800, 2_051_222_400).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
plans = payment_plans(most_installments=60, most_days=366)


def item(**values: object) -> Item:
    defaults = {"id": uuid4(), "slug": "x", "name": "X", "price": 489_000, "currency": "usd"}
    return Item.model_validate({**defaults, **values})


@given(plans, st.integers(10_000, 99_999_999), moments)
def test_installments_add_up_to_the_price(plan: PaymentPlan, amount: int, start: datetime) -> None:
    planned = plan_installments(plan, usd(amount), start)
    assert sum(each.amount.amount for each in planned) == amount
    assert all(each.amount.amount > 0 for each in planned)
    assert [each.position for each in planned] == list(range(1, len(planned) + 1))
    assert planned[0].due_at == start
    assert all(earlier.due_at < later.due_at for earlier, later in pairwise(planned))
    wanted = (plan.installments or 1) + (plan.type == "deposit_installments")
    assert len(planned) == wanted


@given(plans, st.integers(1, 99_999_999), moments)
def test_no_installment_of_an_applicable_plan_is_too_small(plan: PaymentPlan, amount: int, start: datetime) -> None:
    planned = plan_installments(applicable_plan(plan, usd(amount)), usd(amount), start)
    assert sum(each.amount.amount for each in planned) == amount
    assert len(planned) == 1 or all(each.amount.amount >= 50 for each in planned)


@given(moments, st.integers(0, 60))
def test_months_keep_the_day(start: datetime, months: int) -> None:
    later = months_later(start, months)
    assert (later.year * 12 + later.month) - (start.year * 12 + start.month) == months
    last = calendar.monthrange(later.year, later.month)[1]
    assert later.day == min(start.day, last)
    assert later.timetz() == start.timetz()


def test_month_ends_are_clamped_and_restored() -> None:
    plan = PaymentPlan(type="installments", installments=4)
    assert [each.due_at.strftime("%d.%m.") for each in plan_installments(plan, usd(1000), NOW)] == [
        "31.01.",
        "28.02.",
        "31.03.",
        "30.04.",
    ]


def test_the_deposit_comes_first_and_the_first_installment_takes_the_rounding() -> None:
    plan = PaymentPlan(type="deposit_installments", installments=3, deposit_percent=20)
    planned = plan_installments(plan, usd(10_001), NOW)
    assert [(each.kind, each.amount.amount) for each in planned] == [
        ("deposit", 2001),
        ("installment", 2668),
        ("installment", 2666),
        ("installment", 2666),
    ]


def test_a_zero_amount_has_no_installments() -> None:
    assert plan_installments(FULL, usd(0), NOW) == []


def test_an_amount_that_cannot_be_split_raises() -> None:
    with pytest.raises(ValueError, match="cannot be paid by"):
        plan_installments(PaymentPlan(type="installments", installments=5), usd(4), NOW)


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
def test_detect_plan(values: dict[str, object], tier: str | None, plan: PaymentPlan) -> None:
    assert detect_plan(item(**values), tier, rules.checked_in()) == plan


def test_a_price_band_needs_a_currency() -> None:
    with pytest.raises(ValueError, match="needs a currency"):
        Rules.model_validate(
            {"as_of": "2026-11-01", "rules": [{"kinds": ["course"], "from": 1, "plan": {"type": "full"}}]}
        )


NEW = Installment(
    id=uuid4(),
    purchase_id=uuid4(),
    student_id=uuid4(),
    position=1,
    kind="installment",
    amount=1000,
    currency="usd",
    due_at=NOW,
    status="open",
    created_at=NOW,
    updated_at=NOW,
)
installments = st.builds(
    lambda status, closed_because, failed_debits, losses, invoice: replace(
        NEW,
        status=status,
        closed_because=closed_because,
        failed_debits=failed_debits,
        losses=losses,
        stripe_invoice_id=invoice,
    ),
    st.sampled_from(["open", "processing", "overdue", "paused", "paid", "waived", "canceled"]),
    st.sampled_from([None, "ended", "refunded", "disputed", "expired", "covered"]),
    st.integers(0, 3),
    st.integers(0, 2),
    st.none() | st.just("in_1"),
)
all_facts = st.builds(
    InstallmentFacts,
    settled=st.booleans(),
    waived=st.booleans(),
    processing=st.booleans(),
    losses=st.integers(0, 2),
    failed_debits=st.integers(0, 3),
    end=st.sampled_from([None, "ended", "refunded", "disputed", "expired"]),
    refund_failed=st.booleans(),
    covered=st.booleans(),
)


def _apply(installment: Installment, facts: InstallmentFacts) -> Installment:
    match decide(installment, facts):
        case Keep():
            return installment
        case Become(status=status):
            return replace(installment, status=status, closed_because=None)
        case Close(because=because):
            return replace(installment, status="canceled", closed_because=because)
        case Reopen():
            return replace(installment, status="open", closed_because=None)
        case OweAgain():
            return replace(
                installment,
                status="overdue",
                closed_because=None,
                losses=facts.losses,
                round=installment.round + 1,
                stripe_invoice_id=None,
            )
        case DebitFailed(failed=failed):
            return replace(installment, status="open", closed_because=None, failed_debits=failed)


@given(installments, all_facts)
def test_the_same_facts_again_change_nothing(installment: Installment, facts: InstallmentFacts) -> None:
    for _ in range(3):
        installment = _apply(installment, facts)
    assert _apply(installment, facts) == installment


@given(installments, all_facts)
def test_what_is_paid_stays_paid_unless_its_bank_takes_it_back(
    installment: Installment, facts: InstallmentFacts
) -> None:
    after = _apply(installment, facts)
    if installment.status in ("paid", "waived"):
        taken_back = not facts.settled and facts.losses > installment.losses and facts.end is None
        assert after.status == ("overdue" if taken_back else installment.status)
        assert after.round == installment.round + taken_back
    if facts.settled:
        assert after.status in ("paid", "waived")


@given(installments, all_facts)
def test_nothing_is_collected_once_it_is_over(installment: Installment, facts: InstallmentFacts) -> None:
    for _ in range(3):
        installment = _apply(installment, facts)
    if (facts.end or facts.covered) and not facts.processing and installment.stripe_invoice_id is None:
        assert installment.status in ("paid", "waived", "canceled") or (
            facts.losses and facts.end is None and installment.status == "overdue"
        )


@given(installments, all_facts)
def test_only_what_was_never_paid_or_was_disputed_is_owed_again_after_an_end(
    installment: Installment, facts: InstallmentFacts
) -> None:
    if isinstance(decide(installment, facts), Reopen):
        assert facts.end is None
        assert installment.closed_because in ("expired", "disputed", "refunded")
        assert not (installment.closed_because == "refunded" and facts.refund_failed)


@given(st.integers(0, 10**8), st.integers(0, 10**8), st.integers(0, 10**6))
def test_a_refund_by_policy_never_exceeds_what_was_paid(paid: int, refunded: int, hours: int) -> None:
    policy = cancellation_policy("14:100,30:50")
    refund = refund_by_policy(
        policy=policy, paid=paid, refunded=refunded, first_paid_at=NOW, now=NOW + timedelta(hours=hours)
    )
    assert 0 <= refund <= max(paid - refunded, 0)


@pytest.mark.parametrize(
    ("days", "refunded", "refund"),
    [(0, 0, 10_001), (14, 0, 10_001), (15, 0, 5000), (30, 0, 5000), (31, 0, 0), (15, 5000, 0), (15, 1000, 4000)],
)
def test_refund_by_policy(days: int, refunded: int, refund: int) -> None:
    policy = cancellation_policy("14:100, 30:50")
    now = NOW + timedelta(days=days)
    assert refund_by_policy(policy=policy, paid=10_001, refunded=refunded, first_paid_at=NOW, now=now) == refund


@pytest.mark.parametrize("text", ["14", "14:101", "30:50,14:100", "14:50,30:100", "a:b", "14:100;30:50", "-1:50"])
def test_an_invalid_policy_raises(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        cancellation_policy(text)


def test_without_a_policy_nothing_is_refunded() -> None:
    assert cancellation_policy("") == ()
    assert refund_by_policy(policy=(), paid=100, refunded=0, first_paid_at=NOW, now=NOW) == 0


@given(st.integers(0, 1000), st.lists(st.integers(0, 300), max_size=6))
def test_a_refund_is_allocated_in_order_and_within_each_balance(amount: int, left: list[int]) -> None:
    named = list(enumerate(left))
    if amount > sum(left):
        with pytest.raises(ValueError, match="exceeds the refundable balance"):
            allocate_refund(amount, named)
        return
    shares = allocate_refund(amount, named)
    assert sum(share.amount for share in shares) == amount
    assert all(0 < share.amount <= left[share.payment] for share in shares)
    assert [share.payment for share in shares] == sorted(share.payment for share in shares)


def test_installments_keep_the_currency() -> None:
    planned = plan_installments(
        PaymentPlan(type="installments", installments=2), Money(amount=999, currency="jpy"), NOW
    )
    assert {each.amount.currency for each in planned} == {"jpy"}
