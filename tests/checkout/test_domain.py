"""The decisions about a purchase, and the table of its states."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkout.purchases import domain
from checkout.purchases.domain import (
    OPEN,
    TRANSITIONS,
    Abandon,
    Change,
    Enrollment,
    Purchase,
    PurchaseRequest,
    Refuse,
    Replace,
    Resume,
    Start,
    State,
    next_state,
)
from contracts.money import usd
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
FULL = PurchaseRequest(student_id=STUDENT, program=Program(slug=SLUG, id="p"), amount=usd(432_500))
PLAN = PurchaseRequest(
    student_id=STUDENT, program=Program(slug=SLUG, id="p"), amount=usd(432_500), payment_type="plan", installments=4
)
WIOA = PurchaseRequest(
    student_id=STUDENT,
    program=Program(slug=SLUG, id="p"),
    amount=usd(432_500),
    payer="sponsor",
    funding_source="WIOA",
)


def purchase(request: PurchaseRequest, state: State, *, age: timedelta = timedelta(minutes=5)) -> Purchase:
    return Purchase(id=uuid4(), request=request, state=state, session_id="cs_1", created_at=NOW - age)


def decide(request: PurchaseRequest, *existing: Purchase, enrollment: Enrollment | None = None) -> domain.Decision:
    return domain.decide(request=request, enrollments=[enrollment] if enrollment else [], purchases=existing, now=NOW)


def test_nothing_prevents_a_purchase() -> None:
    assert decide(FULL) == Start()
    over = [purchase(FULL, state) for state in (State.EXPIRED, State.FAILED, State.WITHDRAWN)]
    assert decide(FULL, *over) == Start()


@pytest.mark.parametrize("status", ["active", "paused", "completed"])
def test_an_enrollment_prevents_a_purchase(status: Any) -> None:
    assert decide(FULL, enrollment=Enrollment(slug=SLUG, status=status, purchase_id=None)) == Refuse("already_enrolled")


def test_a_payment_in_progress_prevents_a_purchase() -> None:
    assert decide(FULL, enrollment=Enrollment(slug=SLUG, status="pending", purchase_id=None)) == Refuse(
        "payment_in_progress"
    )
    for state in (State.PROCESSING, State.PAID):
        assert decide(PLAN, purchase(FULL, state)) == Refuse("payment_in_progress")


def test_a_withdrawn_enrollment_does_not_prevent_a_purchase() -> None:
    ended, other = purchase(FULL, State.PAID), purchase(FULL, State.PAID)
    enrollment = Enrollment(slug=SLUG, status="withdrawn", purchase_id=ended.id)
    assert decide(FULL, ended, enrollment=enrollment) == Start()
    assert decide(FULL, other, ended, enrollment=enrollment) == Refuse("payment_in_progress"), (
        "a later one is paid, and has no enrollment yet"
    )
    assert decide(FULL, ended, other, enrollment=enrollment) == Start(), "an earlier one had its enrollment before"


def test_a_subscription_that_may_charge_again_prevents_a_purchase_until_it_is_canceled() -> None:
    for flow in ("membership", "external"):
        subscribed = replace(PLAN, payment_flow=flow)
        for state in (State.WITHDRAWN, State.PAID):
            running = purchase(subscribed, state)
            over = replace(running, subscription_canceled=True)
            gone = Enrollment(slug=SLUG, status="withdrawn", purchase_id=running.id)
            for request in (FULL, PLAN, WIOA):
                refused = Refuse("subscription_being_canceled")
                assert decide(request, running, enrollment=gone) == refused
                assert decide(request, purchase(FULL, State.EXPIRED), running, enrollment=gone) == refused
                assert decide(request, over, enrollment=gone) == Start()
    gone = Enrollment(slug=SLUG, status="withdrawn", purchase_id=(ended := purchase(PLAN, State.WITHDRAWN)).id)
    assert decide(FULL, ended, enrollment=gone) == Start(), "a plan of ours charges nothing by itself"
    assert decide(FULL, purchase(PLAN, State.EXPIRED), purchase(PLAN, State.FAILED)) == Start()


def test_the_same_request_resumes_and_another_replaces() -> None:
    for state in (State.CREATED, State.SESSION_OPEN):
        existing = purchase(FULL, state)
        assert decide(FULL, existing) == Resume(existing)
        assert decide(PLAN, existing) == Replace(existing)
        assert decide(WIOA, existing) == Replace(existing)
        sponsored = purchase(WIOA, state)
        assert decide(WIOA, sponsored) == Resume(sponsored)
        assert decide(FULL, sponsored) == Refuse("sponsor_payment_open")


def test_a_purchase_that_stripe_never_answered_is_abandoned_after_a_day() -> None:
    old = purchase(FULL, State.CREATED, age=timedelta(hours=24))
    assert decide(FULL, old) == Abandon(old)
    opened = purchase(FULL, State.SESSION_OPEN, age=timedelta(hours=24))
    assert decide(FULL, opened) == Resume(opened), "Stripe is asked whether it is still open"


@given(amount=st.integers(min_value=4, max_value=99_999_999))
def test_installments_sum_to_the_price(amount: int) -> None:
    each = domain.charges(amount=usd(amount), payment_type="plan")
    assert (len(each), sum(money.amount for money in each)) == (4, amount)
    assert each[1] == each[2] == each[3]
    assert 0 <= each[0].amount - each[1].amount < 4


REFS = PaymentRefs(checkout_session="cs_1", payment_intent="pi_1")
COMMON: dict[str, Any] = {"refs": REFS, "purchase_id": uuid4(), "student_id": STUDENT}
OPENED_AND_LEFT = [PaymentFailed(**COMMON, code="card_declined"), PaymentExpired(**COMMON)]
PAID = [PaymentFailed(**COMMON, code="card_declined"), PaymentSucceeded(**COMMON, amount=usd(100))]
SETTLED_LATER = [PaymentPending(**COMMON), PaymentSucceeded(**COMMON, amount=usd(100))]
BOUNCED = [PaymentPending(**COMMON), PaymentFailed(**COMMON, code="async_payment_failed", final=True)]
RETURNED = [
    PaymentSucceeded(**COMMON, amount=usd(100)),
    PaymentRefunded(**COMMON, total=usd(100), before=usd(0), of=usd(100)),
]
PARTLY = [PaymentSucceeded(**COMMON, amount=usd(100)), PaymentRefunded(**COMMON, total=usd(40), of=usd(100))]


@pytest.mark.parametrize(
    ("events", "change"),
    [
        ([PaymentFailed(**COMMON, code="card_declined")], None),
        ([PaymentPending(**COMMON)], Change.PAYMENT_PENDING),
        (OPENED_AND_LEFT, Change.PAYMENT_EXPIRED),
        (PAID, Change.PAYMENT_SETTLED),
        (SETTLED_LATER, Change.PAYMENT_SETTLED),
        (BOUNCED, Change.PAYMENT_FAILED),
        (RETURNED, Change.MONEY_WITHDRAWN),
        (PARTLY, Change.PAYMENT_SETTLED),
    ],
)
def test_the_change_is_the_same_in_any_order_of_the_facts(events: list[PaymentEvent], change: Change | None) -> None:
    for order in permutations(events):
        (found,) = fold({f"evt_{events.index(event)}": event for event in order})
        assert domain.change_of(found, DEFAULT_POLICY, payment_flow="page") is change


@pytest.mark.parametrize(
    ("events", "change"),
    [
        ([PaymentPending(**COMMON), PaymentFailed(**COMMON, code="debit_not_authorized")], Change.PAYMENT_RETRYABLE),
        ([*BOUNCED, PaymentFailed(**COMMON, code="canceled", final=True)], Change.PAYMENT_FAILED),
        (SETTLED_LATER, Change.PAYMENT_SETTLED),
        ([PaymentFailed(**COMMON, code="card_declined")], None),
    ],
)
def test_an_intent_can_be_paid_until_it_has_failed_for_good(events: list[PaymentEvent], change: Change | None) -> None:
    for order in permutations(events):
        (found,) = fold({f"evt_{events.index(event)}": event for event in order})
        assert domain.change_of(found, DEFAULT_POLICY, payment_flow="intent") is change


FROM_FACTS = (
    Change.PAYMENT_PENDING,
    Change.PAYMENT_SETTLED,
    Change.PAYMENT_FAILED,
    Change.PAYMENT_EXPIRED,
    Change.MONEY_WITHDRAWN,
)


@given(changes=st.lists(st.sampled_from(Change)))
def test_a_purchase_only_makes_transitions_of_the_table(changes: list[Change]) -> None:
    state = State.CREATED
    for change in changes:
        after = next_state(state, change)
        assert (after is None) == ((state, change) not in TRANSITIONS)
        if after is None:
            continue
        assert after is not State.CREATED, "nothing leads back to the start"
        assert state is not State.CANCELED or after is State.CANCELED, "canceled is final"
        if change in (Change.EXPIRED, Change.REJECTED):
            assert state in OPEN, "what is paid, or being paid, is not closed"
        state = after


def test_every_state_can_be_reached_and_every_change_leads_to_one_state() -> None:
    assert {State.CREATED, *TRANSITIONS.values()} == set(State)
    for change in Change:
        assert len({after for (_, each), after in TRANSITIONS.items() if each is change}) == 1, change


@pytest.mark.parametrize("change", FROM_FACTS)
@pytest.mark.parametrize("state", State)
def test_the_facts_decide_in_every_state_but_canceled(state: State, change: Change) -> None:
    """They come in any order: the state after the last one must not depend on the states before it."""
    assert (next_state(state, change) is None) == (state is State.CANCELED)


@pytest.mark.parametrize(
    ("state", "change"),
    [
        (State.SESSION_OPEN, Change.PAGE_OPENED),
        (State.PAID, Change.PAGE_OPENED),
        (State.EXPIRED, Change.PAYMENT_REQUESTED),
        (State.PROCESSING, Change.EXPIRED),
        (State.PAID, Change.REJECTED),
        (State.EXPIRED, Change.PAYMENT_RETRYABLE),
        (State.PAID, Change.PAYMENT_RETRYABLE),
        (State.CANCELED, Change.PAYMENT_SETTLED),
    ],
)
def test_an_illegal_transition_is_refused(state: State, change: Change) -> None:
    assert next_state(state, change) is None
