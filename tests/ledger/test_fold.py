"""What must hold of the fold: any order, any duplication, any split of the same facts gives the same standing."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger.payment_histories import (
    BARBER,
    PRICE,
    STUDENT,
    bank_debit,
    declined,
    disputed,
    expired,
    histories,
    numbered,
    paid_by_card,
    plan,
    purchase,
    refunded,
    wide_histories,
)

from contracts.money import usd
from contracts.payments import PaymentEvent, PaymentExpired, PaymentRefs, PaymentRefunded, PaymentSucceeded
from ledger.facts import fold, keys
from ledger.policy import Policy
from ledger.standing import Standing
from ledger.verdict import Verdict, verdicts


def voided(n: int, installment: int) -> list[PaymentEvent]:
    """As Stripe tells of an invoice that a member of staff has canceled."""
    return [PaymentExpired(refs=PaymentRefs(invoice=f"in_{n}_{installment}", subscription=f"sub_{n}"))]


def standing(events: list[PaymentEvent], policy: Policy | None = None) -> tuple[Standing, str | None]:
    (verdict,) = verdicts(numbered(events), policy or Policy()).values()
    return verdict.standing, verdict.reason


ONE_PURCHASE = [
    ("paid by card", paid_by_card(1), Standing.ACTIVE, None),
    ("declined, then paid", declined(1) + paid_by_card(1), Standing.ACTIVE, None),
    ("declined and left", declined(1), Standing.NONE, None),
    ("expired", expired(1), Standing.NONE, None),
    ("bank debit under way", bank_debit(1, settles=True)[:2], Standing.PENDING, None),
    ("bank debit settled", bank_debit(1, settles=True), Standing.ACTIVE, None),
    ("bank debit returned", bank_debit(1, settles=False), Standing.WITHDRAWN, "payment_failed"),
    ("declined, then bank debit", declined(1) + bank_debit(1, settles=True)[:2], Standing.PENDING, None),
    ("declined, then debit returned", declined(1) + bank_debit(1, settles=False), Standing.WITHDRAWN, "payment_failed"),
    ("debit returned, no session", bank_debit(1, settles=False)[::2], Standing.WITHDRAWN, "payment_failed"),
    ("first installment", plan(1, 1), Standing.ACTIVE, None),
    ("installment missed for good", plan(1, 2, missed=True), Standing.PAUSED, "past_due"),
    ("installment caught up", plan(1, 2, missed=True, caught_up=True), Standing.ACTIVE, None),
    ("installment voided", plan(1, 2, missed=True) + voided(1, 2), Standing.ACTIVE, None),
    ("plan finished", plan(1, 4, ended=True), Standing.ACTIVE, None),
    ("plan broken off", plan(1, 2, ended=True), Standing.PAUSED, "plan_canceled"),
    ("part refunded", paid_by_card(1) + refunded(1, 1_000), Standing.ACTIVE, None),
    ("all refunded", paid_by_card(1) + refunded(1, 1_000, PRICE.amount), Standing.WITHDRAWN, "refunded"),
    ("disputed", paid_by_card(1) + disputed(1, None), Standing.ACTIVE, None),
    ("dispute won", paid_by_card(1) + disputed(1, "won"), Standing.ACTIVE, None),
    ("dispute lost", paid_by_card(1) + disputed(1, "lost"), Standing.WITHDRAWN, "dispute_lost"),
    ("only a warning", paid_by_card(1) + disputed(1, "warning_closed"), Standing.ACTIVE, None),
    (
        "one installment of two refunded",
        plan(1, 2) + refunded(1, PRICE.amount // 4, charge="ch_1_0"),
        Standing.ACTIVE,
        None,
    ),
    (
        "both installments refunded",
        plan(1, 2) + refunded(1, PRICE.amount // 4, charge="ch_1_0") + refunded(1, PRICE.amount // 4, charge="ch_1_1"),
        Standing.WITHDRAWN,
        "refunded",
    ),
    ("refunded, bought again", paid_by_card(1) + refunded(1, PRICE.amount) + paid_by_card(2), Standing.ACTIVE, None),
]


@pytest.mark.parametrize(
    ("events", "expected", "reason"), [case[1:] for case in ONE_PURCHASE], ids=[case[0] for case in ONE_PURCHASE]
)
def test_what_facts_say(events: list[PaymentEvent], expected: Standing, reason: str | None) -> None:
    assert standing(events) == (expected, reason)


@pytest.mark.parametrize("events", [case[1] for case in ONE_PURCHASE if len(case[1]) <= 5])
def test_every_permutation_has_the_same_verdicts(events: list[PaymentEvent]) -> None:
    expected = verdicts(numbered(events))
    items = list(numbered(events).items())
    for order in itertools.permutations(items):
        assert verdicts(dict(order)) == expected


@given(facts=histories() | wide_histories(), data=st.data())
def test_merging_is_a_union_in_any_order(facts: dict[str, PaymentEvent], data: st.DataObject) -> None:
    """Commutative, associative, idempotent: whatever parts arrive, in whatever order and however often."""
    deliveries = data.draw(st.lists(st.sampled_from(sorted(facts)), max_size=30)) + list(
        data.draw(st.permutations(sorted(facts)))
    )
    merged: dict[str, PaymentEvent] = {}
    for event_id in deliveries:
        merged |= {event_id: facts[event_id]}
    assert verdicts(merged) == verdicts(facts)
    assert fold(merged) == fold(facts)


@given(histories() | wide_histories())
def test_an_enrollment_is_active_only_while_money_is_held(facts: dict[str, PaymentEvent]) -> None:
    for verdict in verdicts(facts).values():
        bought, found = verdict.purchase, verdict.standing
        if found is Standing.ACTIVE:
            assert bought.loss() is None
            assert bought.settled_payments
            assert not any(payment.lost for payment in bought.payments)
            assert not bought.ended


@given(histories())
def test_all_events_of_an_enrollment_are_connected_by_their_keys(facts: dict[str, PaymentEvent]) -> None:
    """What the store groups by `keys` is what the fold needs to see together."""
    remaining = [set(keys(event)) for event in facts.values()]
    group = remaining.pop()
    while found := next((each for each in remaining if each & group), None):
        group |= found
        remaining.remove(found)
    assert not remaining


@given(wide_histories())
def test_the_facts_that_share_keys_are_enough_to_know_an_enrollment(facts: dict[str, PaymentEvent]) -> None:
    """A store that reads only what is connected with an event sees the same enrollments as one that reads all."""
    remaining = dict(facts)
    apart: list[Verdict] = []
    while remaining:
        first = next(iter(remaining))
        group, connected = {first: remaining.pop(first)}, set(keys(facts[first]))
        while found := [each for each, event in remaining.items() if keys(event) & connected]:
            for event_id in found:
                group[event_id] = remaining.pop(event_id)
                connected |= keys(group[event_id])
        apart += verdicts(group).values()
    assert sorted(apart, key=lambda enrollment: enrollment.program.slug) == sorted(
        verdicts(facts).values(), key=lambda verdict: verdict.program.slug
    )


def test_a_session_and_its_intent_are_one_payment() -> None:
    (bought,) = fold(numbered(paid_by_card(1)))
    assert len(bought.payments) == 1
    assert bought.paid == {PRICE.currency: PRICE.amount}


def test_a_refund_without_metadata_finds_its_purchase_whatever_comes_first() -> None:
    refund, (intent, session) = refunded(1, PRICE.amount), paid_by_card(1)
    for order in itertools.permutations([*refund, intent, session]):
        (bought,) = fold(numbered(list(order)))
        assert bought.standing() == (Standing.WITHDRAWN, "refunded")


def test_refunds_that_fail_are_taken_off_again() -> None:
    def one(refund_id: str, status: str) -> PaymentEvent:
        return PaymentRefunded.model_validate(
            {"refs": {"charge": "ch_1"}, "refund_id": refund_id, "amount": PRICE, "status": status}
        )

    back = refunded(1, PRICE.amount)
    again = PaymentRefunded(refs=PaymentRefs(charge="ch_1"), total=PRICE, before=usd(0), of=PRICE)
    assert standing(paid_by_card(1) + back + [one("re_1", "pending")]) == (Standing.WITHDRAWN, "refunded")
    assert standing(paid_by_card(1) + back + [one("re_1", "failed")]) == (Standing.ACTIVE, None)
    assert standing(paid_by_card(1) + back + [one("re_1", "failed"), again]) == (Standing.WITHDRAWN, "refunded")
    assert standing([*paid_by_card(1), one("re_1", "failed"), one("re_2", "succeeded")]) == (
        Standing.WITHDRAWN,
        "refunded",
    )


def test_nothing_due_is_settled_too() -> None:
    free = PaymentSucceeded(
        refs=PaymentRefs(checkout_session="cs_1"),
        purchase_id=purchase(1),
        student_id=STUDENT,
        program=BARBER,
        amount=usd(0),
    )
    assert standing([free]) == (Standing.ACTIVE, None)


def test_policy_is_configuration() -> None:
    lenient = Policy(past_due_pauses=False, full_refund_withdraws=False, lost_dispute_withdraws=False)
    for events in (
        plan(1, 2, missed=True),
        paid_by_card(1) + refunded(1, PRICE.amount),
        paid_by_card(1) + disputed(1, "lost"),
    ):
        assert standing(events, lenient) == (Standing.ACTIVE, None)


def test_a_purchase_that_is_only_money_has_no_enrollment() -> None:
    link = PaymentSucceeded(refs=PaymentRefs(invoice="in_9", payment_intent="pi_9"), amount=PRICE)
    assert verdicts({"evt_1": link}) == {}
