"""No sequence of student actions leaves an open enrollment with less net money than due."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkout.payments.domain import (
    ApproveAll,
    RefundablePayment,
    RefundablePurchase,
    RefuseSelfRefund,
    SelfRefundPolicy,
    SelfRefusal,
    decide_self_refund,
    refund_standing,
)
from contracts.money import usd
from contracts.payments import PaymentEvent, PaymentRefs, PaymentRefunded, PaymentSucceeded, PurchaseEnded
from ledger.facts import fold
from ledger.standing import Standing

PURCHASE = UUID("11111111-1111-4111-8111-111111111111")
STUDENT = UUID("22222222-2222-4222-8222-222222222222")
START = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = SelfRefundPolicy(window=timedelta(days=30), max_progress=25)
PRICE = 10_000


@dataclass
class World:
    """A purchase, what a student does to it, and what every service derives from the events."""

    now: datetime = START
    payments: list[RefundablePayment] = field(default_factory=list)
    events: dict[str, PaymentEvent] = field(default_factory=dict)
    credit: int = 0
    progress: int = 0
    completed: bool = False
    ended: bool = False
    paid_out: int = 0

    def say(self, event: PaymentEvent) -> None:
        stated = {"purchase_id": PURCHASE, "student_id": STUDENT, "price": usd(PRICE), "as_of": self.now}
        self.events[f"evt_{len(self.events)}"] = event.model_copy(update=stated)

    def pay(self, amount: int, *, method: str) -> None:
        id = f"pay_{len(self.payments)}"
        manual = method == "cash"
        self.payments.append(
            RefundablePayment(
                id=uuid5(PURCHASE, id), status="succeeded", amount=amount, refunded=0, reserved=0, method=method,
                inquiry=False, disputed=False, paid_at=self.now, channel="manual" if manual else "stripe",
            )
        )  # fmt: skip
        refs = PaymentRefs(manual=id) if manual else PaymentRefs(payment_intent=id)
        self.say(PaymentSucceeded(refs=refs, amount=usd(amount), method=method))

    def change(self, credit: int) -> None:
        """A change of the membership credits some of what was paid."""
        left = sum(payment.left for payment in self.payments) - self.credit
        self.credit += max(min(credit, left), 0)

    def refund(self, amount: int | None) -> ApproveAll | RefuseSelfRefund:
        purchase = RefundablePurchase(
            payments=tuple(self.payments), ended=self.ended, completed=self.completed, progress=self.progress,
            credit=self.credit,
        )  # fmt: skip
        decision = decide_self_refund(purchase=purchase, requested=amount, now=self.now, policy=POLICY)
        if isinstance(decision, ApproveAll):
            shares = {share.payment_id: share.amount for share in decision.shares}
            for n, payment in enumerate(self.payments):
                share = shares.get(payment.id, 0)
                assert 0 <= share <= payment.left
                if share:
                    self.payments[n] = replace(payment, refunded=payment.refunded + share)
                    refs = PaymentRefs(payment_intent=f"pay_{n}")
                    self.say(PaymentRefunded(refs=refs, refund_id=f"re_{len(self.events)}", amount=usd(share)))
            self.paid_out += sum(shares.values())
            self.ended = True
            self.say(PurchaseEnded(refs=PaymentRefs(), by="student", reason="refunded"))
        return decision

    def check(self) -> None:
        received = sum(payment.amount for payment in self.payments if payment.is_money)
        assert self.paid_out + self.credit <= received
        if self.paid_out:
            assert self.ended
        for purchase in fold(self.events):
            if purchase.standing()[0] in (Standing.ACTIVE, Standing.PAUSED):
                assert received - self.paid_out >= PRICE


ACTIONS = st.one_of(
    st.tuples(st.just("refund"), st.one_of(st.none(), st.integers(1, 2 * PRICE))),
    st.tuples(st.just("refund_all_but"), st.integers(0, 3)),
    st.tuples(st.just("pay"), st.tuples(st.integers(1, PRICE), st.sampled_from(["card", "cash"]))),
    st.tuples(st.just("change"), st.integers(0, PRICE)),
    st.tuples(st.just("wait"), st.integers(0, 20)),
    st.tuples(st.just("learn"), st.integers(0, 60)),
)


@given(actions=st.lists(ACTIONS, max_size=12))
def test_any_sequence_of_actions(actions: list[tuple[str, Any]]) -> None:
    world = World()
    world.pay(PRICE, method="card")
    for action, value in actions:
        world.now += timedelta(minutes=1)
        match action:
            case "refund":
                world.refund(value)
            case "refund_all_but":
                world.refund(max(sum(payment.left for payment in world.payments) - value, 1))
            case "pay":
                world.pay(value[0], method=value[1])
            case "change":
                world.change(value)
            case "wait":
                world.now += timedelta(days=value)
            case "learn":
                world.progress = min(world.progress + value, 100)
                world.completed = world.progress == 100
        world.check()


def _paid(**changes: Any) -> RefundablePurchase:
    payment = RefundablePayment(
        id=uuid5(PURCHASE, "one"), status="succeeded", amount=100, refunded=30, reserved=20, method="card",
        inquiry=False, disputed=False, paid_at=START, channel="stripe",
    )  # fmt: skip
    purchase = {"ended": False, "completed": False, "progress": 0, "credit": 0}
    whole = {name: changes.pop(name) for name in list(changes) if name in purchase}
    return RefundablePurchase(payments=(replace(payment, **changes),), **{**purchase, **whole})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"status": "processing"}, "payment_processing"),
        ({"status": "failed"}, "payment_not_succeeded"),
        ({"method": "waiver"}, "nothing_was_paid"),
        ({"refunded": 80}, "nothing_to_refund"),
        ({"ended": True}, "purchase_ended"),
        ({"disputed": True}, "payment_disputed"),
        ({"inquiry": True}, "payment_disputed"),
        ({"channel": "manual"}, "paid_by_hand"),
        ({"channel": None}, "refund_channel_unknown"),
        ({"completed": True}, "course_completed"),
        ({"progress": 26}, "course_in_progress"),
        ({"credit": 50}, "refund_credited"),
    ],
)
def test_why_not(changes: dict[str, Any], code: SelfRefusal) -> None:
    decision = decide_self_refund(purchase=_paid(**changes), requested=None, now=START, policy=POLICY)
    assert decision == RefuseSelfRefund(code)


def test_the_window_includes_its_last_moment_and_the_progress_its_last_percent() -> None:
    last = START + timedelta(days=30)

    def decide(requested: int | None, at: datetime) -> ApproveAll | RefuseSelfRefund:
        return decide_self_refund(purchase=_paid(progress=25, credit=10), requested=requested, now=at, policy=POLICY)

    for requested in (None, 50, 40):
        decision = decide(requested, last)
        assert isinstance(decision, ApproveAll) and [share.amount for share in decision.shares] == [40]
    assert decide(None, last + timedelta(microseconds=1)) == RefuseSelfRefund("refund_window_over")
    assert decide(51, last) == RefuseSelfRefund("amount_too_large")
    assert decide(49, last) == RefuseSelfRefund("partial_refund_needs_admin")


def test_the_word_for_what_is_refunded() -> None:
    assert [refund_standing(amount=100, refunded=back) for back in (0, 1, 99, 100)] == [
        None,
        "partially_refunded",
        "partially_refunded",
        "refunded",
    ]
