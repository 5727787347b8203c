"""What must hold of the decisions, whatever happens in whatever order."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from tests.ledger.payment_histories import PRICE, bank_debit, declined, expired, histories, paid_by_card, refunded

from contracts.instructor_assignment import Instructor
from contracts.payments import PaymentEvent
from contracts.people import Program
from instructor_assignment.domain import (
    Assignment,
    Change,
    Status,
    Teacher,
    fulfilled,
    least_loaded,
    leave,
    serve,
    settle,
    wish,
)
from ledger.enrollments_tmp import enrollments
from ledger.policy import DEFAULT_POLICY

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROGRAM = Program(slug="barber-apprenticeship", id="prog-1")


def teacher(n: int, capacity: int = 10, students: int = 0) -> Teacher:
    return Teacher(instructor=Instructor(id=UUID(int=n), name=f"T{n}"), capacity=capacity, students=students)


def waiting(n: int) -> Assignment:
    return Assignment(
        id=UUID(int=n),
        student_id=UUID(int=n),
        program=PROGRAM,
        status=Status.WAITING,
        instructor=None,
        reason=None,
        purchase_id=None,
        since=NOW,
        revision=1,
    )


def play(order: list[tuple[str, PaymentEvent]], teachers: list[Teacher]) -> tuple[Assignment | None, list[Change]]:
    """The events one after the other, as the consumer hears them."""
    facts: dict[str, PaymentEvent] = {}
    known: Assignment | None = None
    changes = []
    for event_id, event in order:
        facts[event_id] = event
        for enrollment in enrollments(facts):
            wanted = wish(enrollment=enrollment, policy=DEFAULT_POLICY)
            if wanted is None or fulfilled(wish=wanted, known=known):
                continue
            change = settle(enrollment=enrollment, wish=wanted, known=known, teachers=teachers, at=NOW)
            changes.append(change)
            known = change.after
            assert fulfilled(wish=wanted, known=known)
    return known, changes


def row(assignment: Assignment | None) -> object:
    """What must be the same; how many changes it took, and when, may differ."""
    if assignment is None:
        return None
    return assignment.status, assignment.instructor, assignment.reason, assignment.purchase_id


@given(histories(), st.randoms(use_true_random=False), st.booleans())
def test_any_order_and_duplication_of_the_facts_ends_in_the_same_row(history, random, somebody_teaches) -> None:  # type: ignore[no-untyped-def]
    teachers = [teacher(1)] if somebody_teaches else []
    order = list(history.items()) * 2
    random.shuffle(order)
    known, changes = play(order, teachers)
    in_order, _ = play(list(history.items()), teachers)
    assert row(known) == row(in_order)
    assert (known is not None and known.instructor is not None) <= somebody_teaches

    said = [event.type for change in changes for event in change.publishes]
    taught = [kind for kind in said if kind in ("instructor.assigned.v1", "instructor.released.v1")]
    assert taught == (["instructor.assigned.v1", "instructor.released.v1"] * len(taught))[: len(taught)]
    assert len({(c.after.revision, e.type) for c in changes for e in c.publishes}) == len(said), "an event id each"


def test_a_refunded_enrollment_that_is_being_bought_again_is_released_in_any_order() -> None:
    events = [paid_by_card(1)[0], refunded(1, PRICE.amount)[0], bank_debit(2, settles=True)[0]]
    for order in itertools.permutations(enumerate(events)):
        known, _ = play([(f"evt_{number}/{event.type}", event) for number, event in order], [teacher(1)])
        assert known is not None
        assert known.status is Status.RELEASED


def test_what_was_never_paid_has_no_row() -> None:
    for events in (bank_debit(1, settles=False), declined(1), expired(1)):
        assert play([(f"evt_{n}/{event.type}", event) for n, event in enumerate(events)], []) == (None, [])


loads = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=5).map(
    lambda pairs: [teacher(n, capacity=capacity, students=students) for n, (capacity, students) in enumerate(pairs)]
)


@given(loads, st.integers(0, 30))
def test_nobody_is_filled_past_their_capacity_and_no_place_is_left_empty(
    teachers: list[Teacher], students: int
) -> None:
    room = {t.instructor.id: max(t.capacity - t.students, 0) for t in teachers}
    changes = serve(waiting=[waiting(n) for n in range(students)], teachers=teachers, at=NOW)
    assert len(changes) == min(students, sum(room.values()))
    assert [change.after.student_id for change in changes] == [UUID(int=n) for n in range(len(changes))], "in order"
    for change in changes:
        assert change.after.instructor is not None
        room[change.after.instructor.id] -= 1
    assert all(left >= 0 for left in room.values())


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.data())
def test_loads_stay_within_one_student_of_each_other(capacities: list[int], data: st.DataObject) -> None:
    teachers = [teacher(n, capacity) for n, capacity in enumerate(capacities)]
    students = data.draw(st.integers(0, sum(capacities)))
    taken = dict.fromkeys((t.instructor.id for t in teachers), 0)
    for change in serve(waiting=[waiting(n) for n in range(students)], teachers=teachers, at=NOW):
        assert change.after.instructor
        taken[change.after.instructor.id] += 1
    for one in teachers:
        for other in teachers:
            before_the_last = Fraction(max(taken[one.instructor.id] - 1, 0), one.capacity)
            assert before_the_last <= Fraction(taken[other.instructor.id], other.capacity)


@given(loads, st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_the_rows(teachers: list[Teacher], random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(teachers)
    random.shuffle(shuffled)
    assert least_loaded(teachers) == least_loaded(shuffled)


def test_who_loses_their_instructor_gets_another_or_waits_and_both_are_said() -> None:
    gone = teacher(9).instructor
    students = [Assignment(**{**waiting(n).__dict__, "status": Status.ASSIGNED, "instructor": gone}) for n in range(2)]
    later = NOW + timedelta(days=1)
    moved, left = leave(students=students, teachers=[teacher(1, capacity=1)], reason="instructor_inactive", at=later)
    assert [e.type for e in moved.publishes] == ["instructor.released.v1", "instructor.assigned.v1"]
    assert [e.type for e in left.publishes] == ["instructor.released.v1", "instructor.unavailable.v1"]
    assert (moved.after.status, left.after.status, left.after.since) == (Status.ASSIGNED, Status.WAITING, later)
    assert {e.reason for c in (moved, left) for e in c.publishes if hasattr(e, "reason")} == {"instructor_inactive"}
