"""Events that need not be kept: without them, everything that is derived from the rest stays the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from contracts.envelope import Event
from contracts.money import usd
from contracts.payments import PaymentEvent, PaymentFailed, PaymentPending, PaymentRefs, PaymentSucceeded
from contracts.people import Program
from ledger.facts import ALIKE_KEPT, fold, implied_keys, superseded
from ledger.verdict import verdicts

AT = datetime.fromisoformat("2026-11-21T00:00:00+00:00")
STUDENTS = [UUID(int=1), UUID(int=2)]
BARBER = Program(slug="barber", id="1")


@dataclass(frozen=True)
class Dated:
    id: str
    time: datetime
    data: Event


def declined(n: int, *, code: str = "card_declined", intent: str = "pi_1", charge: str | None = None) -> Dated:
    refs = PaymentRefs(payment_intent=intent, charge=charge or f"ch_{n:05}")
    at = AT + timedelta(seconds=n)
    event = PaymentFailed(refs=refs, student_id=STUDENTS[0], program=BARBER, amount=usd(100), code=code, as_of=at)
    return Dated(f"evt_{n:05}", at, event)


def test_of_ten_thousand_declines_the_last_ones_and_the_first_charge_are_left() -> None:
    events = [declined(n) for n in range(10_000)]
    last = {each.id for each in events[-ALIKE_KEPT:]}
    assert {each.id for each in events} - superseded(events) == {"evt_00000", *last}


def test_a_debit_that_is_reported_late_has_failed_all_the_same() -> None:
    """Its submission arrives after its failure, and after the next attempt has failed as well."""
    failures = [declined(0), declined(1), declined(2)]
    left = [each for each in failures if each.id not in superseded(failures)]
    submitted = Dated("submitted", AT, PaymentPending(refs=PaymentRefs(payment_intent="pi_1", charge="ch_00001")))
    (purchase,) = fold(facts_of([*left, submitted]))
    assert [payment.processing for payment in purchase.payments] == [False]


def test_each_reason_each_intent_and_each_final_failure_is_kept() -> None:
    final = Dated("final", AT, PaymentFailed(refs=PaymentRefs(payment_intent="pi_1", charge="ch_x"), final=True))
    events = [declined(1), declined(2, code="fraudulent"), declined(3, intent="pi_2"), final]
    assert superseded(events) == frozenset()


def test_the_failure_of_a_submitted_debit_is_kept() -> None:
    """Otherwise the debit would look as if it were still on its way."""
    refs = PaymentRefs(payment_intent="pi_1", charge="ch_00001")
    submitted = Dated("submitted", AT, PaymentPending(refs=refs))
    events = [declined(0), declined(1), declined(2), declined(3), submitted]
    assert superseded(events, keep=1) == {"evt_00002"}


def events() -> st.SearchStrategy[list[Dated]]:
    def dated(n: int, seconds: int, kind: int, intent: str, charge: str, student: UUID, code: str) -> Dated:
        at = AT + timedelta(seconds=seconds)
        named: dict[str, Any] = {
            # a charge is of one intent; what has succeeded has not failed; what was submitted may fail
            "refs": PaymentRefs(payment_intent=intent, charge=f"{charge}_{intent}" if kind else f"ch_paid_{intent}"),
            "student_id": student,
            "program": BARBER,
            "as_of": at,
        }
        event: PaymentEvent
        if kind == 0:
            event = PaymentSucceeded(**named, amount=usd(100))
        elif kind == 1:
            event = PaymentPending(**named, amount=usd(100))
        else:
            event = PaymentFailed(**named, code=code, amount=usd(100), final=kind == 2)
        return Dated(f"evt_{n}", at, event)

    return st.lists(
        st.builds(
            dated,
            n=st.integers(0, 999),
            seconds=st.integers(0, 5),
            kind=st.integers(0, 12),
            intent=st.sampled_from(["pi_1", "pi_1", "pi_2"]),
            charge=st.sampled_from([f"ch_{n}" for n in range(8)]),
            student=st.sampled_from(STUDENTS[:1] * 5 + STUDENTS),
            code=st.sampled_from(["card_declined", "insufficient_funds"]),
        ),
        max_size=25,
        unique_by=lambda each: each.id,
    )


def facts_of(events: list[Dated]) -> dict[str, PaymentEvent]:
    return {each.id: each.data for each in events if isinstance(each.data, PaymentEvent)}


def assert_same(left: list[Dated], every: list[Dated]) -> None:
    """Everything that is derived from events."""
    assert verdicts_of(facts_of(left)) == verdicts_of(facts_of(every))
    assert implied_keys(facts_of(left)) == implied_keys(facts_of(every))
    for one, other in zip(fold(facts_of(left)), fold(facts_of(every)), strict=True):
        assert one.id == other.id
        assert one.standing() == other.standing()
        assert one.named_student_ids == other.named_student_ids
        assert [min(payment.refs) for payment in one.payments] == [min(payment.refs) for payment in other.payments]
        assert [payment.processing for payment in one.payments] == [payment.processing for payment in other.payments]


def verdicts_of(facts: dict[str, PaymentEvent]) -> dict[Any, tuple[Any, ...]]:
    return {key: (verdict.standing, verdict.reason) for key, verdict in verdicts(facts).items()}


@given(events())
def test_no_standing_and_no_name_depends_on_what_is_superseded(events: list[Dated]) -> None:
    dropped = superseded(events, keep=1)
    assert_same([each for each in events if each.id not in dropped], events)


def arrived(events: list[Dated], order: Any, keep: int) -> list[Dated]:
    """Those that are left after each has arrived twice, in a random order."""
    arriving = [*events, *events]
    order.shuffle(arriving)
    left: dict[str, Dated] = {}
    for each in arriving:
        left[each.id] = each
        for id in superseded(left.values(), keep=keep):
            del left[id]
    return list(left.values())


@given(events(), st.randoms(use_true_random=False), st.integers(1, 4))
def test_the_same_events_are_left_in_any_order_of_arrival(events: list[Dated], order: Any, keep: int) -> None:
    """Without submitted debits: a failure that was removed does not come back when its submission is reported."""
    events = [each for each in events if not isinstance(each.data, PaymentPending)]
    expected = {each.id for each in events} - superseded(events, keep=keep)
    assert {each.id for each in arrived(events, order, keep)} == expected


@given(events(), st.randoms(use_true_random=False))
def test_what_is_derived_does_not_depend_on_the_order_of_arrival(events: list[Dated], order: Any) -> None:
    """With submitted debits, of which a payer never makes as many as are kept."""
    assert_same(arrived(events, order, ALIKE_KEPT), events)


@given(events(), st.randoms(use_true_random=False), st.integers(1, 4))
def test_without_debits_it_does_not_either_if_few_are_kept(events: list[Dated], order: Any, keep: int) -> None:
    events = [each for each in events if not isinstance(each.data, PaymentPending)]
    assert_same(arrived(events, order, keep), events)
