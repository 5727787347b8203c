"""What money means: net against what was due, ends that stay ends, lost disputes."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger.payment_histories import BARBER, GOLD, PRICE
from tests.ledger.purchase_events import (
    ACTIVE,
    CANCELED,
    DISPUTE_LOST,
    PAST_DUE,
    REFUNDED,
    SHARE,
    UNDERPAID,
    Judged,
    day,
    ended,
    fields,
    installment,
    judged,
    judged_once,
    lost,
    only,
    paid,
    plan_fields,
    refunded,
)

from contracts.money import Money, usd
from contracts.payments import (
    DisputeStatus,
    EndedBy,
    PaymentDisputeClosed,
    PaymentDisputeOpened,
    PaymentEvent,
    PaymentFailed,
    PaymentPending,
    PaymentRefs,
    PaymentRefunded,
    PaymentSucceeded,
    PurchaseAccepted,
)
from contracts.people import ItemRef, Program
from ledger.facts import keys
from ledger.policy import Policy

# --- refunds ----------------------------------------------------------------------------------------------------------


def test_a_cent_kept_back_keeps_no_enrollment() -> None:
    assert judged(paid(1, PRICE), refunded(1, PRICE.amount - 1)) == REFUNDED
    assert judged(paid(1, PRICE), refunded(1, PRICE.amount // 2)) == ACTIVE


def test_a_cent_of_each_installment_keeps_no_enrollment() -> None:
    kept = SHARE.amount - 1
    assert judged(installment(1), installment(2, at=30), refunded(1, kept, at=31), refunded(2, kept, at=31)) == REFUNDED


def test_money_that_comes_after_everything_went_back_opens_nothing() -> None:
    history = [installment(1), refunded(1, SHARE.amount, at=2), installment(2, at=5), installment(3, at=35)]
    assert judged(*history) == REFUNDED
    pending = PaymentPending(refs=PaymentRefs(payment_intent="pi_2", charge="ch_2"), as_of=day(1), **plan_fields())
    assert judged(installment(1), pending, refunded(1, SHARE.amount, at=2), installment(2, at=5)) == REFUNDED


def test_a_refund_of_one_of_two_installments_is_no_end_in_whatever_order_they_are_reported() -> None:
    assert judged(installment(1), installment(2, at=1), refunded(1, SHARE.amount, at=2)) == ACTIVE
    assert judged(installment(1), installment(2, at=2), refunded(1, SHARE.amount, at=2)) == ACTIVE  # the same second
    minute = 1 / (24 * 60)
    assert judged(installment(1), installment(2, at=2 + minute), refunded(1, SHARE.amount, at=2)) == ACTIVE, "skew"
    assert judged(installment(1), installment(2, at=2 + 6 * minute), refunded(1, SHARE.amount, at=2)) == REFUNDED


def test_a_refund_that_failed_ends_nothing() -> None:
    def refund(status: str, at: float) -> PaymentEvent:
        refs = PaymentRefs(charge="ch_1")
        return PaymentRefunded.model_validate(
            {"refs": refs, "refund_id": "re_1", "amount": PRICE, "status": status, "as_of": day(at)}
        )

    assert judged(paid(1, PRICE), refund("succeeded", 1)) == REFUNDED
    assert judged(paid(1, PRICE), refund("succeeded", 1), refund("failed", 3)) == ACTIVE


# --- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("by", "answer"), [("student", REFUNDED), ("school", CANCELED)])
def test_an_end_that_a_person_decided_is_final(by: EndedBy, answer: Judged) -> None:
    assert judged(paid(1, PRICE), ended(by)) == answer
    assert judged(installment(1), ended(by), installment(2, at=30), installment(3, at=60)) == answer


def test_an_end_by_dispute_counts_while_the_dispute_is_lost() -> None:
    won = lost(1, amount=PRICE, at=9).model_copy(update={"status": "won"})
    assert judged(paid(1, PRICE), lost(1, amount=PRICE, at=1), ended("dispute")) == DISPUTE_LOST
    assert judged(paid(1, PRICE), lost(1, amount=PRICE, at=1), won, ended("dispute")) == ACTIVE


# --- disputes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["insufficient_funds", "debit_not_authorized", "customer_initiated"])
def test_a_late_return_of_an_installment_makes_it_owed_again(reason: str) -> None:
    history = [installment(1), installment(2, at=30), lost(2, reason, at=40)]
    assert judged(*history) == PAST_DUE
    assert judged(*history, installment(3, at=60)) == PAST_DUE, "another installment does not pay it"
    assert judged(*history, installment(2, at=45, round=2, intent=5)) == ACTIVE


def test_a_late_return_of_the_first_installment_pauses_too() -> None:
    assert judged(installment(1), lost(1, "insufficient_funds", at=10)) == PAST_DUE
    assert (
        judged(installment(1), lost(1, "insufficient_funds", at=10), installment(1, at=12, round=2, intent=5)) == ACTIVE
    )


def test_a_lost_dispute_of_one_installment_is_owed_again_and_of_everything_ends() -> None:
    assert judged(installment(1), installment(2, at=30), lost(2, at=40)) == PAST_DUE
    assert judged(installment(1), lost(1, at=20)) == DISPUTE_LOST
    assert judged(installment(1), lost(1, at=20), installment(2, at=30)) == DISPUTE_LOST
    assert judged(paid(1, PRICE), lost(1, "insufficient_funds", amount=PRICE, at=5)) == DISPUTE_LOST


@pytest.mark.parametrize("reason", ["insufficient_funds", "fraudulent"])
def test_a_policy_may_tolerate_lost_disputes_except_of_installments(
    reason: str,
) -> None:
    policy = Policy(lost_dispute_withdraws=False)
    assert judged(paid(1, PRICE), lost(1, reason, amount=PRICE, at=5), policy=policy) == ACTIVE
    assert judged(installment(1), lost(1, reason, at=20), policy=policy) == PAST_DUE
    assert judged(paid(1, SHARE), lost(1, reason, at=5), policy=policy) == UNDERPAID, "it has never opened"
    yen = Money(amount=PRICE.amount * 100, currency="jpy")
    assert judged(paid(1, yen), lost(1, reason, amount=yen, at=5), policy=policy) == UNDERPAID, (
        "nor by another currency"
    )


@pytest.mark.parametrize("reason", ["insufficient_funds", "fraudulent"])
def test_a_policy_may_keep_what_is_past_due_open(reason: str) -> None:
    policy = Policy(past_due_pauses=False)
    assert judged(installment(1), installment(2, at=30), lost(2, reason, at=40), policy=policy) == ACTIVE
    assert judged(installment(1), lost(1, "insufficient_funds", at=10), policy=policy) == ACTIVE
    assert judged(paid(1, usd(1), **plan_fields()), lost(1, "insufficient_funds", at=5), policy=policy) == UNDERPAID


@pytest.mark.parametrize("reason", ["insufficient_funds", "fraudulent"])
def test_a_month_of_a_membership_that_was_lost_is_owed_until_money_is_received(reason: str) -> None:
    def month(n: int, at: float) -> PaymentEvent:
        return paid(n, usd(4_900), at=at, program=GOLD, price=None)

    returned = lost(2, reason, amount=usd(4_900), at=40)
    assert judged(month(1, 0), month(2, 30), returned) == PAST_DUE
    assert judged(month(1, 0), month(2, 30), returned, month(3, 60)) == ACTIVE


def test_a_lost_dispute_may_be_won_on_appeal() -> None:
    def appeal(status: str, at: float) -> PaymentEvent:
        kind = PaymentDisputeClosed if status in ("won", "lost") else PaymentDisputeOpened
        return kind.model_validate(
            {
                "refs": PaymentRefs(charge="ch_1"),
                "dispute_id": "du_1",
                "status": status,
                "amount": PRICE,
                "as_of": day(at),
            }
        )

    history = [paid(1, PRICE), appeal("lost", 1), appeal("appeal_needs_response", 2), appeal("appeal_under_review", 3)]
    assert judged(*history) == DISPUTE_LOST
    assert judged(*history, appeal("won", 9)) == ACTIVE
    assert judged(*history, appeal("lost", 9)) == DISPUTE_LOST


# --- what is due ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [0, 1, SHARE.amount - 1])
def test_a_plan_is_not_opened_by_less_than_what_is_due(amount: int) -> None:
    assert judged(paid(1, usd(amount), **plan_fields())) == UNDERPAID
    assert judged(paid(1, usd(amount), **plan_fields(due=None))) == UNDERPAID
    assert judged(installment(1)) == ACTIVE


def test_one_installment_is_no_plan() -> None:
    assert judged(paid(1, usd(1), **fields(installments=1))) == UNDERPAID


def test_tax_is_not_part_of_the_price_and_a_stated_discount_or_credit_is() -> None:
    assert judged(paid(1, PRICE, tax=usd(40_000))) == UNDERPAID
    assert judged(paid(1, usd(PRICE.amount + 40_000), tax=usd(40_000))) == ACTIVE
    assert judged(paid(1, usd(400_000), discount=usd(89_000))) == ACTIVE
    assert judged(paid(1, usd(400_000), discount=usd(88_999))) == UNDERPAID
    assert judged(paid(1, usd(0), credit=PRICE)) == ACTIVE


def test_an_invoice_paid_by_two_halves_is_paid() -> None:
    invoice = PaymentRefs(invoice="in_1", subscription="sub_1")
    missed = PaymentFailed(refs=invoice, amount=SHARE, final=True, **plan_fields())
    halves = [
        PaymentSucceeded(
            refs=PaymentRefs(invoice="in_1", payment_intent=f"pi_half_{n}"), amount=usd(SHARE.amount // 2), as_of=day(n)
        )
        for n in (1, 2)
    ]
    first = installment(1)
    assert judged(first, missed) == PAST_DUE
    assert judged(first, missed, halves[0]) == PAST_DUE, "half of it is not all of it"
    assert judged(first, missed, *halves) == ACTIVE
    assert only(first, missed, *halves).paid == {"usd": 2 * SHARE.amount}


def test_a_session_an_intent_a_charge_and_an_invoice_report_the_same_money_once() -> None:
    refs = [
        PaymentRefs(checkout_session="cs_1", payment_intent="pi_1"),
        PaymentRefs(payment_intent="pi_1", charge="ch_1"),
        PaymentRefs(charge="ch_1"),
        PaymentRefs(invoice="in_1"),
        PaymentRefs(invoice="in_1", payment_intent="pi_1"),
    ]
    events = [PaymentSucceeded(refs=each, amount=PRICE, **fields()) for each in refs]
    assert only(*events).paid == {"usd": PRICE.amount}


def test_what_an_admin_accepts_is_not_owed() -> None:
    cent = paid(1, usd(1))
    accepted = PurchaseAccepted(refs=PaymentRefs(), amount=usd(PRICE.amount - 1), **fields())
    assert only(cent).shortfall == usd(PRICE.amount - 1)
    assert judged(cent, accepted) == ACTIVE
    assert judged(cent, accepted.model_copy(update={"amount": usd(5)})) == UNDERPAID


def test_only_what_is_accepted_as_a_whole_is_kept_after_a_full_refund() -> None:
    everything_went_back = paid(1, PRICE), refunded(1, PRICE.amount)
    accepted = PurchaseAccepted(refs=PaymentRefs(), amount=PRICE, **fields())
    assert judged(*everything_went_back, accepted) == ACTIVE
    assert judged(*everything_went_back, accepted.model_copy(update={"amount": usd(1)})) == REFUNDED


@pytest.mark.parametrize("status", get_args(DisputeStatus))
def test_a_payment_is_disputed_until_its_bank_has_decided(status: DisputeStatus) -> None:
    dispute = PaymentDisputeOpened(
        refs=PaymentRefs(payment_intent="pi_1"), dispute_id="du_1", status=status, amount=PRICE, **fields()
    )
    (payment,) = only(paid(1, PRICE), dispute).payments
    undecided = {"warning_needs_response", "warning_under_review", "needs_response", "under_review"}
    assert payment.disputed == (status in undecided)


# --- merchandise ------------------------------------------------------------------------------------------------------


def test_merchandise_gives_no_enrollment_and_connects_no_purchases() -> None:
    kit = Program(slug="tool-kit", id="m-1", kind="merchandise")
    assert judged(paid(1, PRICE, program=kit)) == ("none", None)
    assert not any(key.startswith("enrollment:") for key in keys(paid(1, PRICE, program=kit)))
    bundle = Program(
        slug="starter",
        id="b-1",
        kind="bundle",
        includes=(
            ItemRef(slug=kit.slug, id=kit.id, kind="merchandise"),
            ItemRef(slug=BARBER.slug, id=BARBER.id, kind="program"),
        ),
    )
    assert judged(paid(1, PRICE, program=bundle)) == ACTIVE


# --- in general -------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 9)), max_size=4, unique_by=lambda each: each[0]),
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, SHARE.amount), st.integers(0, 9)), max_size=4),
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["fraudulent", "insufficient_funds"])), max_size=2),
    st.sampled_from([None, "student", "school"]),
)
def test_an_open_plan_has_its_money(
    payments: list[tuple[int, int]],
    refunds: list[tuple[int, int, int]],
    disputes: list[tuple[int, str]],
    end: EndedBy | None,
) -> None:
    events = [installment(n, at=at) for n, at in payments]
    received = {n for n, _ in payments}
    events += [refunded(n, total, at=at) for n, total, at in refunds if n in received]
    events += [lost(n, reason, at=5) for n, reason in disputes if n in received]
    events += [ended(end)] if end else []
    if not payments:
        return
    standing, _ = judged_once(events)
    bought = only(*events)
    if end:
        assert standing in ("withdrawn", "none")
    if standing == "active":
        assert sum(payment.net for payment in bought.settled_payments) > 0
        assert bought.value >= SHARE.amount
        assert not any(payment.lost for payment in bought.settled_payments)
