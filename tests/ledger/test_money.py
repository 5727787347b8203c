"""What money means: net against what was due, ends that stay ends, payments that were not started here."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger.payment_histories import BARBER, GOLD, PRICE, START, STUDENT, numbered

from contracts.money import Money, usd
from contracts.payments import (
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
    PurchaseEnded,
    PurchaseRecorded,
    SubscriptionChanged,
    SubscriptionScheduleEnded,
)
from contracts.people import ItemRef, Program, purchase_uuid
from ledger.facts import fold, keys
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
    """The same, whatever the order of the events and of their ids; there is one enrollment at most."""
    found = {_judged(order, policy) for order in itertools.islice(itertools.permutations(events), 24)}
    assert len(found) == 1, found
    return found.pop()


def _judged(events: Sequence[PaymentEvent], policy: Policy = DEFAULT_POLICY) -> Judged:
    answers = [(str(each.standing), each.reason) for each in verdicts(numbered(events), policy).values()]
    assert len(answers) < 2
    return answers[0] if answers else ("none", None)


def only(*events: PaymentEvent) -> Purchase:
    (purchase,) = fold(numbered(events))
    return purchase


ACTIVE, UNDERPAID, PAST_DUE = ("active", None), ("pending", "underpaid"), ("paused", "past_due")
REFUNDED, CANCELED, DISPUTE_LOST = ("withdrawn", "refunded"), ("withdrawn", "canceled"), ("withdrawn", "dispute_lost")


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


# --- payments that were not started here ------------------------------------------------------------------------------


def external(amount: Money, **changes: Any) -> PaymentEvent:
    program = Program(slug="3f6c", id="3f6c", id_only=True)
    values = {"purchase_id": purchase_uuid("pi_1"), "student_id": STUDENT, "program": program, **changes}
    return PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_1"), amount=amount, as_of=day(0), **values)


def recorded(price: Money, *, student: UUID = STUDENT, program: Program = BARBER, at: float = 1) -> PaymentEvent:
    return PurchaseRecorded(
        refs=PaymentRefs(payment_intent="pi_1"),
        purchase_id=purchase_uuid("pi_1"),
        student_id=student,
        program=program,
        price=price,
        as_of=day(at),
    )


def test_a_payment_that_was_not_started_here_opens_nothing_until_it_is_recorded() -> None:
    assert judged(external(PRICE)) == ("none", None)
    assert judged(external(PRICE, price=usd(1))) == ("none", None), "the metadata's price is not the catalog's"
    assert judged(external(PRICE), recorded(PRICE)) == ACTIVE
    assert judged(external(usd(50)), recorded(PRICE)) == UNDERPAID


def test_a_record_decides_the_price_of_our_own_purchase_too() -> None:
    ours = uuid4()
    record = recorded(PRICE).model_copy(update={"purchase_id": ours})
    assert judged(external(usd(50), purchase_id=ours, program=BARBER, price=usd(50)), record) == UNDERPAID
    assert judged(external(PRICE, purchase_id=ours, program=BARBER, price=usd(50)), record) == ACTIVE


def test_an_external_membership_opens_with_the_price_of_a_period() -> None:
    tier = Program(slug="membership", id="m-1", kind="membership")
    record = recorded(PRICE, program=tier).model_copy(update={"price": None, "due": usd(1_900)})
    assert judged(external(usd(50), program=tier, price=usd(50)), record) == UNDERPAID
    assert judged(external(usd(1_900), program=tier, price=usd(50)), record) == ACTIVE


def test_the_latest_record_decides_who_bought_what() -> None:
    other, web = uuid4(), Program(slug="web-developer", id="prog-2")
    facts = numbered([external(PRICE), recorded(PRICE), recorded(PRICE, student=other, program=web, at=2)])
    standing = {(v.student_id, v.program.slug): str(v.standing) for v in verdicts(facts).values()}
    assert standing[other, "web-developer"] == "active"
    assert set(standing.values()) == {"active", "withdrawn"}
    assert list(standing.values()).count("active") == 1


def test_money_of_nobody_names_nobody() -> None:
    stranger = PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_9"), amount=usd(500))
    assert judged(stranger) == ("none", None)


# --- plans that another system made -----------------------------------------------------------------------------------


def test_an_external_plan_that_stops_early_is_paused() -> None:
    refs = PaymentRefs(invoice="in_1", subscription="sub_1")
    of_purchase = plan_fields(purchase_id=purchase_uuid("sub_1"))
    first = PaymentSucceeded(refs=refs, amount=SHARE, **of_purchase)
    record = PurchaseRecorded(refs=PaymentRefs(subscription="sub_1"), **of_purchase)
    gone = SubscriptionChanged(refs=PaymentRefs(subscription="sub_1"), status="canceled", **of_purchase)
    aborted = SubscriptionScheduleEnded(refs=PaymentRefs(subscription="sub_1"), outcome="aborted")
    released = aborted.model_copy(update={"outcome": "released"})
    assert judged(first, record) == ACTIVE
    assert judged(first, record, released) == ACTIVE
    assert judged(first, record, gone) == ("paused", "plan_canceled")
    assert judged(first, record, aborted) == ("paused", "plan_canceled")
    credit = PaymentSucceeded(
        refs=PaymentRefs(invoice="in_2", subscription="sub_1"),
        amount=usd(0),
        credit=usd(PRICE.amount - SHARE.amount),
        **of_purchase,
    )
    assert judged(first, credit, record, gone) == ACTIVE, "a credit balance has paid the rest"


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
    standing, _ = _judged(events)
    bought = only(*events)
    if end:
        assert standing in ("withdrawn", "none")
    if standing == "active":
        assert sum(payment.net for payment in bought.settled_payments) > 0
        assert bought.value >= SHARE.amount
        assert not any(payment.lost for payment in bought.settled_payments)
