"""What must hold of the verdict when events contradict each other."""

from __future__ import annotations

import itertools
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger.inconsistent_metadata import ID_ONLY, NO_PARTS, OTHER, card, inconsistent_histories, invoices
from tests.ledger.payment_histories import (
    BARBER,
    BUNDLE,
    GOLD,
    STUDENT,
    histories,
    numbered,
    paid_by_card,
    purchase,
)

from contracts.money import Money, usd
from contracts.payments import (
    PaymentEvent,
    PaymentExpired,
    PaymentFailed,
    PaymentRefs,
    PaymentRefunded,
    PaymentSucceeded,
)
from contracts.people import Program
from ledger.facts import fold, implied_keys, keys
from ledger.standing import Standing
from ledger.verdict import verdicts

TRACK = Program(slug="web-developer", id="item-1", kind="track")


def judged(events: list[PaymentEvent]) -> dict[str, tuple[str, str | None]]:
    """slug -> standing and reason, of the one student."""
    found = verdicts(numbered(events))
    assert {student for student, _ in found} <= {STUDENT}
    return {slug: (verdict.standing.value, verdict.reason) for (_, slug), verdict in found.items()}


def by(program: Program | None, student: UUID | None = STUDENT) -> dict[str, Any]:
    return {"student_id": student, "program": program, "purchase_id": purchase(1)}


def test_an_id_never_outranks_a_slug() -> None:
    assert judged(card(1, by(BARBER), by(ID_ONLY))) == {
        BARBER.slug: ("active", None),
        ID_ONLY.slug: ("withdrawn", "superseded"),
    }


def test_what_a_purchase_was_refunded_for_is_not_superseded_by_another() -> None:
    """The reason is that of the purchase that had the enrollment, whatever the order of their ids."""
    gone = PaymentRefunded(refs=PaymentRefs(payment_intent="pi_1", charge="ch_1"), total=usd(489_000), of=usd(489_000))
    bought_and_refunded = [*paid_by_card(1, program=ID_ONLY), gone]
    other = [fact.model_copy(update={"purchase_id": purchase(2)}) for fact in card(2, by(BARBER), by(ID_ONLY))]
    assert judged([*bought_and_refunded, *other]) == {
        BARBER.slug: ("active", None),
        ID_ONLY.slug: ("withdrawn", "refunded"),
    }


def test_an_id_alone_is_enough() -> None:
    assert judged(card(1, by(None), by(ID_ONLY))) == {ID_ONLY.slug: ("active", None)}


def test_parts_that_are_named_late_take_the_bundles_own_enrollment_away() -> None:
    found = judged(card(1, by(BUNDLE), by(NO_PARTS)))
    assert found.pop(NO_PARTS.slug) == ("withdrawn", "superseded")
    assert found == {part.slug: ("active", None) for part in BUNDLE.parts}


@pytest.mark.parametrize("names", [(BARBER, ID_ONLY), (BUNDLE, NO_PARTS)], ids=["id only", "parts late"])
def test_a_full_refund_leaves_nothing_active(names: tuple[Program, Program]) -> None:
    found = judged(card(1, by(names[0]), by(names[1]), refunded=True))
    assert {standing for standing, _ in found.values()} == {"withdrawn"}


@pytest.mark.parametrize("students", [(STUDENT, OTHER), (OTHER, STUDENT)])
def test_two_students_open_nothing(students: tuple[UUID, UUID]) -> None:
    found = verdicts(numbered(invoices(1, *students)))
    assert {(student, verdict.standing, verdict.reason) for (student, _), verdict in found.items()} == {
        (student, Standing.PENDING, "conflicting_students") for student in students
    }


def test_two_students_are_withdrawn_by_a_full_refund() -> None:
    found = verdicts(numbered(card(1, by(BARBER, STUDENT), by(BARBER, OTHER), refunded=True)))
    assert {verdict.reason for verdict in found.values()} == {"refunded"}


@pytest.mark.parametrize("program", [TRACK, BARBER, BUNDLE], ids=lambda program: program.slug)
def test_less_than_the_price_opens_nothing(program: Program) -> None:
    short = card(1, by(program) | {"price": usd(99_900)}, by(program), amount=1_000)
    assert set(judged(short).values()) == {("pending", "underpaid")}
    rest = PaymentSucceeded(refs=PaymentRefs(manual="cash_1"), amount=usd(98_900), **by(program))
    assert set(judged([*short, rest]).values()) == {("active", None)}


def test_less_than_the_price_is_enough_for_a_plan_a_waiver_and_a_membership() -> None:
    price = {"price": usd(99_900)}
    assert set(judged(card(1, by(TRACK) | price | {"installments": 4}, by(TRACK), amount=24_975)).values()) == {
        ("active", None)
    }
    waiver = PaymentSucceeded(refs=PaymentRefs(manual="w"), amount=usd(0), method="waiver", **by(TRACK), **price)
    assert set(judged([waiver]).values()) == {("active", None)}
    assert set(judged(card(1, by(GOLD) | price, by(GOLD), amount=4_900)).values()) == {("active", None)}


def test_money_in_another_currency_does_not_pay_the_price() -> None:
    yen = PaymentSucceeded(
        refs=PaymentRefs(manual="yen"), amount=Money(amount=999_999, currency="jpy"), **by(TRACK), price=usd(99_900)
    )
    assert set(judged([yen]).values()) == {("pending", "underpaid")}


def test_another_purchase_keeps_what_was_superseded_in_the_first() -> None:
    """The bundle's own slug is a real purchase of its own, too."""
    own = paid_by_card(2, program=NO_PARTS)
    assert judged(card(1, by(BUNDLE), by(NO_PARTS)) + own)[NO_PARTS.slug] == ("active", None)


@given(st.one_of(histories(), inconsistent_histories()), st.data())
def test_a_pair_is_never_forgotten(facts: dict[str, PaymentEvent], data: st.DataObject) -> None:
    """So a row that was written by today's facts is looked at again by tomorrow's."""
    known = data.draw(st.sets(st.sampled_from(sorted(facts)))) if facts else set()
    before, after = verdicts({id: facts[id] for id in known}), verdicts(facts)
    assert before.keys() <= after.keys()
    for pair, verdict in before.items():
        assert verdict.standing is Standing.NONE or after[pair].standing is not Standing.NONE


@given(inconsistent_histories())
def test_at_most_one_student_is_served_by_a_payment(facts: dict[str, PaymentEvent]) -> None:
    active = [verdict for verdict in verdicts(facts).values() if verdict.standing is Standing.ACTIVE]
    for one, other in itertools.combinations(active, 2):
        shared = {fact.refs.payment_intent for fact in one.purchase.facts if fact.refs.payment_intent} & {
            fact.refs.payment_intent for fact in other.purchase.facts if fact.refs.payment_intent
        }
        assert not shared or one.student_id == other.student_id


@given(inconsistent_histories())
def test_nothing_is_active_after_everything_was_refunded(facts: dict[str, PaymentEvent]) -> None:
    for verdict in verdicts(facts).values():
        if verdict.standing is Standing.ACTIVE:
            assert verdict.purchase.loss() is None


@given(st.one_of(histories(), inconsistent_histories()))
def test_every_pair_is_among_the_keys(facts: dict[str, PaymentEvent]) -> None:
    """Two purchases of one enrollment are in one group, also when no single event names both student and program."""
    direct = frozenset[str]().union(*(keys(event) for event in facts.values()))
    assert {verdict.key for verdict in verdicts(facts).values()} <= direct | implied_keys(facts)


def test_an_expired_page_for_another_program_is_not_opened_by_the_money() -> None:
    paid = PaymentSucceeded(
        refs=PaymentRefs(checkout_session="cs_1"), amount=usd(100), **by(Program(slug="cpr", id="c-1"))
    )
    expired = PaymentExpired(refs=PaymentRefs(checkout_session="cs_2"), **by(BARBER))
    assert judged([paid, expired]) == {"cpr": ("active", None), BARBER.slug: ("withdrawn", "superseded")}


def test_a_declined_attempt_for_another_student_is_no_conflict() -> None:
    paid = PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_1"), amount=usd(100), **by(BARBER))
    declined = PaymentFailed(refs=PaymentRefs(payment_intent="pi_2"), **by(BARBER, OTHER))
    found = verdicts(numbered([paid, declined]))
    assert found[STUDENT, BARBER.slug].standing is Standing.ACTIVE
    assert found[OTHER, BARBER.slug].reason == "superseded"


def test_a_declined_attempt_changes_neither_price_nor_plan() -> None:
    paid = PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_1"), amount=usd(100), price=usd(900), **by(BARBER))
    declined = PaymentFailed(refs=PaymentRefs(payment_intent="pi_2"), installments=120, price=usd(100), **by(BARBER))
    assert judged([paid, declined]) == {BARBER.slug: ("pending", "underpaid")}


def test_a_description_is_put_together_from_all_events() -> None:
    """The provider by one event, the kind by another: neither is lost."""
    named = Program(slug="barber", id="prog-1", name="Barber Apprenticeship", kind="program")
    provided = Program(slug="barber", id="prog-1", provider="milady")
    (verdict,) = verdicts(numbered(card(1, by(named), by(provided)))).values()
    assert (verdict.program.provider, verdict.program.kind, verdict.program.name) == ("milady", "program", named.name)


def test_an_id_is_resolved_by_an_event_that_has_both() -> None:
    """Also when the event with the slug is not the one that was paid."""
    paid = PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_1"), amount=usd(1_000), **by(ID_ONLY))
    expired = PaymentExpired(refs=PaymentRefs(checkout_session="cs_2"), **by(BARBER))
    assert judged([paid, expired])[BARBER.slug] == ("active", None)


def test_a_thousand_declined_attempts_name_one_program() -> None:
    """What is described is each program, not each event: otherwise card testing on one intent stops the queue."""
    declined = [
        PaymentFailed(refs=PaymentRefs(payment_intent="pi_1", charge=f"ch_{n}"), **by(BARBER)) for n in range(1_000)
    ]
    (purchase,) = fold(numbered(declined))
    assert purchase.programs == (BARBER,)
