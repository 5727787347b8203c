"""What must hold of installments, bundles, memberships, canceled purchases, disputed money and currencies.

Facts get their ids in a drawn order, so that neither the order of arrival nor that of the ids can matter.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger.payment_histories import (
    BARBER,
    BUNDLE,
    PRICE,
    STUDENT,
    End,
    Word,
    bank_debit,
    bundles,
    canceled,
    cash,
    declined,
    disputed,
    due,
    funds,
    histories,
    membership,
    memberships,
    numbered,
    paid_by_card,
    plan,
    purchase,
    refunded,
    schedule,
    wide_histories,
)

from contracts.money import Money, usd
from contracts.payments import (
    PaymentEvent,
    PaymentExpired,
    PaymentFailed,
    PaymentRefs,
    PaymentSucceeded,
    SubscriptionChanged,
)
from contracts.people import Program
from ledger.facts import fold, keys
from ledger.purchase import Purchase
from ledger.standing import Standing
from ledger.verdict import verdicts

Events = list[PaymentEvent]
ENDS: tuple[End, ...] = get_args(End)
SHARE = PRICE.amount // 4
YEN = Money(amount=PRICE.amount * 100, currency="jpy")


def only(events: Events) -> Purchase:
    (bought,) = fold(numbered(events))
    return bought


@st.composite
def so_far(draw: st.DrawFn) -> dict[str, PaymentEvent]:
    """What has arrived of a history: any part of it."""
    facts = draw(histories() | wide_histories())
    return {name: facts[name] for name in draw(st.sets(st.sampled_from(sorted(facts)), min_size=1))}


def failed(n: int, k: int, *, code: str = "canceled", **refs: str) -> PaymentFailed:
    """The final word on an attempt at an installment."""
    named = PaymentRefs(installment=due(n, k), **refs)
    fields = {"purchase_id": purchase(n), "student_id": STUDENT, "program": BARBER}
    return PaymentFailed.model_validate({"refs": named, "code": code, "final": True, **fields})


def priced(events: Events, price: Money = PRICE) -> Events:
    return [event.model_copy(update={"price": price}) if event.purchase_id else event for event in events]


WHAT_HAPPENED: list[tuple[str, Events, Standing, str | None]] = [
    ("the first of our installments", schedule(1, 1), Standing.ACTIVE, None),
    ("all of our installments", schedule(1, 4), Standing.ACTIVE, None),
    ("the first one missed", schedule(1, 0, missed="left"), Standing.NONE, None),
    ("one missed", schedule(1, 2, missed="left"), Standing.PAUSED, "past_due"),
    ("missed, no card to try", [*schedule(1, 1), failed(1, 1, code="no_card")], Standing.PAUSED, "past_due"),
    ("missed, then that card charged", schedule(1, 2, missed="card"), Standing.ACTIVE, None),
    ("missed, then by invoice", schedule(1, 2, missed="invoice"), Standing.ACTIVE, None),
    ("missed, then in cash", schedule(1, 2, missed="cash"), Standing.ACTIVE, None),
    ("missed, then given up", schedule(1, 2, missed="given_up"), Standing.ACTIVE, None),
    ("an attempt put aside", [*schedule(1, 2), failed(1, 2, payment_intent="pi_1_2")], Standing.ACTIVE, None),
    ("canceled with money", paid_by_card(1) + canceled(1), Standing.WITHDRAWN, "canceled"),
    (
        "canceled and refunded",
        paid_by_card(1) + refunded(1, PRICE.amount) + canceled(1),
        Standing.WITHDRAWN,
        "canceled",
    ),
    ("canceled without money", canceled(1), Standing.NONE, None),
    ("canceled after a decline", declined(1) + canceled(1), Standing.NONE, None),
    ("canceled while debited", bank_debit(1, settles=True)[:2] + canceled(1), Standing.WITHDRAWN, "canceled"),
    ("canceled, bought again", paid_by_card(1) + canceled(1) + paid_by_card(2), Standing.ACTIVE, None),
    ("money withdrawn", paid_by_card(1) + funds(1, "withdrawn", "needs_response"), Standing.ACTIVE, None),
    (
        "money withdrawn, dispute lost",
        paid_by_card(1) + funds(1, "withdrawn", "lost"),
        Standing.WITHDRAWN,
        "dispute_lost",
    ),
    ("a member", membership(1, 1, "active"), Standing.ACTIVE, None),
    ("a member who has not paid", membership(1, 0, "active"), Standing.NONE, None),
    ("a member on holiday", membership(1, 1, "active", "paused"), Standing.PAUSED, "membership_paused"),
    ("a member who came back", membership(1, 1, "active", "paused", "resumed"), Standing.ACTIVE, None),
    ("a member who will leave", membership(1, 1, "active", "ending"), Standing.ACTIVE, None),
    ("a member who left", membership(1, 1, "active", "ended"), Standing.WITHDRAWN, "membership_ended"),
    ("a member who left and is back", membership(1, 1, "ended") + membership(2, 1, "active"), Standing.ACTIVE, None),
]


@pytest.mark.parametrize(
    ("events", "expected", "reason"), [case[1:] for case in WHAT_HAPPENED], ids=[case[0] for case in WHAT_HAPPENED]
)
def test_what_facts_say(events: Events, expected: Standing, reason: str | None) -> None:
    for order in itertools.islice(itertools.permutations(events), 200):
        (verdict,) = verdicts(numbered(order)).values()
        assert (verdict.standing, verdict.reason) == (expected, reason)


# --- installments -----------------------------------------------------------------------------------------------------


@given(st.integers(1, 3), st.sampled_from(ENDS), st.data())
def test_past_due_pauses_until_it_is_paid_however_it_is_paid(paid: int, end: End, data: st.DataObject) -> None:
    bought = only(data.draw(st.permutations(schedule(1, paid, missed=end))))
    assert bought.standing() == ((Standing.PAUSED, "past_due") if end == "left" else (Standing.ACTIVE, None))
    assert len(bought.past_due) == (end == "left")


@given(so_far(), st.data())
def test_an_intent_that_is_canceled_never_makes_anything_past_due(
    facts: dict[str, PaymentEvent], data: st.DataObject
) -> None:
    before = sum(len(bought.past_due) for bought in fold(facts))
    name = data.draw(st.sampled_from(sorted(facts)))
    refs = facts[name].refs.model_copy(update={"payment_intent": "pi_put_aside"})  # older ones name their invoice
    put_aside = facts[name].refs.of_payment() and PaymentFailed(refs=refs, code="canceled", final=True)
    if put_aside:
        assert sum(len(bought.past_due) for bought in fold(facts | {"evt_x": put_aside})) <= before


def test_the_intent_of_an_invoice_that_is_still_tried_may_be_canceled() -> None:
    """In older API versions an intent names its invoice."""
    *paid, first_try, _, _ = plan(1, 2, missed=True)
    refs = PaymentRefs(payment_intent="pi_1_2", invoice="in_1_2")
    put_aside = PaymentFailed(refs=refs, code="canceled", final=True)
    assert only([*paid, first_try, put_aside]).standing() == (Standing.ACTIVE, None)


@pytest.mark.parametrize("refs", [{"checkout_session": "cs_1"}, {"invoice": "in_1"}])
def test_an_amount_due_outlives_what_it_was_to_be_paid_with(refs: dict[str, str]) -> None:
    """A link that ran out or an invoice that was voided; what ends the debt is the school's own word."""
    ended = PaymentExpired(refs=PaymentRefs(installment=due(1, 2), **refs), purchase_id=purchase(1))
    given_up = PaymentExpired(refs=PaymentRefs(installment=due(1, 2)), purchase_id=purchase(1))
    missed = [*schedule(1, 2, missed="left"), ended]
    assert only(missed).standing() == (Standing.PAUSED, "past_due")
    assert only([*missed, given_up]).standing() == (Standing.ACTIVE, None)


def test_giving_up_one_installment_forgives_no_other() -> None:
    both = [*schedule(1, 1, missed="left"), failed(1, 2, code="card_declined", payment_intent="pi_1_2")]
    given_up = PaymentExpired(refs=PaymentRefs(installment=due(1, 1)), purchase_id=purchase(1))
    assert len(only(both).past_due) == 2
    assert len(only([*both, given_up]).past_due) == 1
    assert len(only([*both, *cash(1, usd(SHARE), installment=due(1, 2))]).past_due) == 1


@given(st.integers(1, 2), st.data())
def test_a_plan_that_was_broken_off_goes_on_once_its_price_is_paid(paid: int, data: st.DataObject) -> None:
    left = PRICE.amount - paid * SHARE
    short = data.draw(st.integers(1, left - 1))
    broken_off = priced(plan(1, paid, ended=True))
    assert only(broken_off).standing() == (Standing.PAUSED, "plan_canceled")
    for rest, expected in (
        (cash(1, usd(left)), (Standing.ACTIVE, None)),
        (cash(1, usd(left - short)), (Standing.PAUSED, "plan_canceled")),
        (cash(1, YEN), (Standing.PAUSED, "plan_canceled")),
        (cash(1, usd(left - short)) + cash(1, YEN), (Standing.PAUSED, "plan_canceled")),
    ):
        if paid + len(rest) < 4:
            assert only(data.draw(st.permutations(broken_off + rest))).standing() == expected


# --- bundles ----------------------------------------------------------------------------------------------------------


@given(bundles(1), st.data())
def test_a_bundle_gives_each_part_the_same_standing(events: Events, data: st.DataObject) -> None:
    facts = numbered(data.draw(st.permutations(events)))
    found = verdicts(facts).values()
    assert {enrollment.program.slug for enrollment in found} == {part.slug for part in BUNDLE.includes}
    assert len({(verdict.standing, verdict.reason) for verdict in found}) == 1
    assert {verdict.purchase for verdict in found} == set(fold(facts))


@given(bundles(1))
def test_everything_about_a_bundle_meets(events: Events) -> None:
    """From the enrollment of any part all of the purchase is found, and so are the other parts."""
    fields = {key for event in events if event.program for key in keys(event)}
    assert {key for key in fields if key.startswith("enrollment:")} == {
        f"enrollment:{STUDENT}:{part.slug}" for part in BUNDLE.includes
    }
    assert len(fold(numbered(events))) == 1


@given(bundles(1), st.permutations(range(3)))
def test_an_event_with_fewer_parts_of_a_bundle_withdraws_nothing(events: Events, order: list[int]) -> None:
    full = verdicts(numbered(events))
    lesser = [
        Program(slug=BUNDLE.slug, id=BUNDLE.id),
        Program(slug=BUNDLE.slug, id=BUNDLE.id, name="Z", provider="milady", kind="program"),
        Program(slug=BUNDLE.slug, id=BUNDLE.id, name="Z", kind="bundle", includes=BUNDLE.includes[:1]),
    ]
    less = [
        PaymentExpired(
            refs=PaymentRefs(checkout_session=f"cs_{n}_less"),
            purchase_id=purchase(1),
            student_id=STUDENT,
            program=lesser[n],
        )
        for n in order
    ]
    found = verdicts(numbered(less + events))
    for pair, verdict in full.items():
        assert (found[pair].program, found[pair].standing, found[pair].reason) == (
            verdict.program,
            verdict.standing,
            verdict.reason,
        )
    others = {found[pair].standing for pair in found.keys() - full.keys()}
    assert others <= {Standing.NONE, Standing.WITHDRAWN}


def test_a_part_that_was_also_bought_alone_outlives_the_bundle() -> None:
    both = paid_by_card(1, program=BUNDLE) + refunded(1, PRICE.amount) + paid_by_card(2)
    standings = {slug: verdict.standing for (_, slug), verdict in verdicts(numbered(both)).items()}
    assert standings.pop(BARBER.slug) is Standing.ACTIVE
    assert set(standings.values()) == {Standing.WITHDRAWN}


# --- memberships ------------------------------------------------------------------------------------------------------

STANDS: tuple[Word, ...] = ("active", "paused", "resumed", "past_due", "ending")


@given(st.lists(st.sampled_from(STANDS), min_size=1, max_size=5), st.data())
def test_the_last_word_on_a_membership_is_the_latest(words: list[Word], data: st.DataObject) -> None:
    events = membership(1, 1, *words)
    bought = only(data.draw(st.permutations(events)))
    assert bought.subscription == events[-1]
    paused = (Standing.PAUSED, "membership_paused")
    assert bought.standing() == (paused if words[-1] == "paused" else (Standing.ACTIVE, None))


@given(st.lists(st.sampled_from(STANDS), max_size=4), st.integers(0, 4), st.integers(1, 3), st.data())
def test_an_ended_membership_is_withdrawn_whatever_else_happens(
    words: list[Word], day: int, months: int, data: st.DataObject
) -> None:
    """Stripe never brings a subscription back, so even a later time does not undo its end."""
    events = membership(1, months, "ended", *words, at=[day, *range(len(words))])
    bought = only(data.draw(st.permutations(events)))
    assert bought.standing() == (Standing.WITHDRAWN, "membership_ended")
    assert bought.subscription is not None
    assert bought.subscription.status == "canceled"


@given(st.data())
def test_a_word_without_a_time_is_the_oldest(data: st.DataObject) -> None:
    *money, untimed = membership(1, 1, "paused")
    untimed = untimed.model_copy(update={"as_of": None})
    assert only([*money, untimed]).standing() == (Standing.PAUSED, "membership_paused")
    timed = membership(1, 1, "resumed")
    assert only(data.draw(st.permutations([*timed, untimed]))).standing() == (Standing.ACTIVE, None)


@given(memberships(1), st.data())
def test_changes_of_the_same_second_have_a_stable_order(events: Events, data: st.DataObject) -> None:
    for bought in fold(numbered(events)):
        shuffled = only(data.draw(st.permutations(events)))
        assert (shuffled.subscription, shuffled.standing()) == (bought.subscription, bought.standing())


def test_the_end_of_a_plan_is_no_end_of_a_membership() -> None:
    assert only(plan(1, 4, ended=True)).standing() == (Standing.ACTIVE, None)
    paused = SubscriptionChanged(refs=PaymentRefs(subscription="sub_1"), status="active", collection_paused=True)
    assert only([*plan(1, 2), paused]).standing() == (Standing.ACTIVE, None)


# --- canceled purchases, disputed money, currencies ------------------------------------------------------------------


@given(so_far(), st.data())
def test_a_canceled_purchase_never_stands_above_withdrawn(facts: dict[str, PaymentEvent], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 5))
    extra = {f"evt_c/{event.type}": event for event in canceled(n)}
    for bought in fold(facts | extra):
        if bought.ended:
            standing, reason = bought.standing()
            assert standing.rank <= Standing.WITHDRAWN.rank
            assert reason == ("canceled" if bought.settled_payments else reason)


@given(st.permutations(["withdrawn", "reinstated", "word"]), st.sampled_from(["won", "lost", "warning_closed"]))
def test_disputed_money_that_came_back_is_back_in_any_order(order: list[str], outcome: str) -> None:
    fields = {
        "withdrawn": funds(1, "withdrawn", "needs_response"),
        "reinstated": funds(1, "reinstated", outcome),
        "word": disputed(1, outcome),
    }
    (gone,) = only(paid_by_card(1) + fields["withdrawn"] + fields["word"]).payments
    assert gone.funds_withdrawn == {"du_1"}
    (back,) = only(paid_by_card(1) + [event for part in order for event in fields[part]]).payments
    assert back.funds_withdrawn == frozenset()
    assert back.disputes == {"du_1": outcome}


@given(st.sampled_from([None, "won", "lost", "warning_closed"]), st.sampled_from(["withdrawn", "reinstated"]))
def test_where_disputed_money_is_decides_nothing(outcome: str | None, where: str) -> None:
    events = paid_by_card(1) + disputed(1, outcome)
    moved = funds(1, where, outcome or "under_review")  # type: ignore[arg-type]
    assert only(events + moved).standing() == only(events).standing()


@given(so_far())
def test_each_currency_is_summed_on_its_own(facts: dict[str, PaymentEvent]) -> None:
    for bought in fold(facts):
        found: Counter[str] = Counter()
        for payment in bought.payments:
            if payment.settled:
                found[payment.settled.currency] += payment.settled.amount
        assert bought.paid == dict(found)
        assert all(0 <= amount <= bought.paid[currency] for currency, amount in bought.refunded.items())


@given(so_far(), st.integers(1, 5))
def test_money_in_another_currency_leaves_the_rest_as_it_was(facts: dict[str, PaymentEvent], n: int) -> None:
    pound = Money(amount=1, currency="gbp")
    before = fold(facts)
    for bought in fold(facts | {f"evt_p/{event.type}": event for event in cash(n, pound)}):
        same = [each for each in before if set(each.facts) <= set(bought.facts)]
        paid = dict(same[0].paid) if same else {}
        refunded = dict(same[0].refunded) if same else {}
        assert bought.paid == (paid | {"gbp": 1} if bought.id == purchase(n) else paid)
        assert {**bought.refunded, "gbp": 0} == {**refunded, "gbp": 0}
        assert not (bought.loss() == "refunded" and "gbp" in bought.paid)


def test_all_is_back_when_it_is_back_in_each_currency() -> None:
    both = paid_by_card(1) + cash(1, YEN) + refunded(1, PRICE.amount)
    assert only(both).standing() == (Standing.ACTIVE, None)
    returned = PaymentRefs(manual=f"manual_1_{YEN.amount}_jpy")
    back = refunded(1, 1)[0].model_copy(update={"refs": returned, "total": YEN, "before": None, "of": YEN})
    assert only([*both, back]).standing() == (Standing.WITHDRAWN, "refunded")


def test_a_session_and_its_invoice_have_the_same_tax() -> None:
    fields = {"purchase_id": purchase(1), "amount": PRICE, "tax": usd(900)}
    session = PaymentRefs(checkout_session="cs_1", payment_intent="pi_1", invoice="in_1")
    events: Events = [
        PaymentSucceeded.model_validate({"refs": refs, **fields}) for refs in (session, PaymentRefs(invoice="in_1"))
    ]
    (payment,) = only(events + paid_by_card(1)).payments
    assert payment.tax == usd(900)
