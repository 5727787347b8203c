"""Properties of the decisions, for events in any order."""

from __future__ import annotations

import itertools
import random as randoms
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from tests.ledger.inconsistent_metadata import inconsistent_histories
from tests.ledger.payment_histories import PRICE, bank_debit, declined, expired, histories, paid_by_card, refunded

from contracts.instructor_assignment import Instructor
from contracts.payments import PaymentEvent
from instructor_assignment.domain import (
    Assignment,
    Change,
    DesiredAssignment,
    DesiredStatus,
    InstructorLoad,
    Status,
    becomes,
    changes_assignment,
    follow,
    least_loaded,
    reassign,
    wanted,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def load(n: int, capacity: int = 10, students: int = 0) -> InstructorLoad:
    return InstructorLoad(instructor=Instructor(id=UUID(int=n), name=f"T{n}"), capacity=capacity, students=students)


def waiting(n: int) -> Assignment:
    desired = DesiredAssignment(
        id=UUID(int=n),
        student_id=UUID(int=n),
        program_slug="barber-apprenticeship",
        program_id="prog-1",
        program_name=None,
        provider=None,
        desired_status=DesiredStatus.ASSIGNED,
        reason=None,
        purchase_id=None,
    )
    return Assignment(desired=desired, status=Status.WAITING, instructor=None, since=NOW, revision=1)


@dataclass
class Table:
    """The rows of the assignments, and the changes to them, as the projection makes them."""

    loads: list[InstructorLoad]
    facts: dict[str, PaymentEvent] = field(default_factory=dict)
    rows: dict[UUID, Assignment] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    def handle(self, event_id: str, event: PaymentEvent) -> None:
        self.facts[event_id] = event
        for id, row in wanted(self.facts).items():
            existing = self.rows.get(id)
            before = existing.desired if existing else None
            after = becomes(before, row)
            if after is None or after == before:
                continue
            new = Assignment(desired=after, status=Status.RELEASED, instructor=None, since=NOW, revision=0)
            self.rows[id] = replace(existing, desired=after) if existing else new
            if changes_assignment(before, after):
                for change in follow(assignments=[self.rows[id]], loads=self.loads, at=NOW):
                    self.changes.append(change)
                    self.rows[id] = change.after

    def end(self) -> dict[UUID, object]:
        """What must not depend on the order. The times and the number of changes may."""
        return {
            id: (row.status, row.instructor, row.desired.reason, row.desired.purchase_id)
            for id, row in self.rows.items()
        }


def after(events: Iterable[tuple[str, PaymentEvent]], loads: list[InstructorLoad]) -> Table:
    table = Table(loads)
    for event_id, event in events:
        table.handle(event_id, event)
    return table


def shuffled_twice(facts: dict[str, PaymentEvent], random: randoms.Random) -> list[tuple[str, PaymentEvent]]:
    order = list(facts.items()) * 2
    random.shuffle(order)
    return order


@given(inconsistent_histories(), st.randoms(use_true_random=False))
def test_the_wanted_rows_are_the_same_for_every_order_and_duplication(
    facts: dict[str, PaymentEvent], random: randoms.Random
) -> None:
    assert wanted(dict(shuffled_twice(facts, random))) == wanted(facts)


@given(inconsistent_histories(), st.randoms(use_true_random=False), st.booleans())
def test_the_rows_end_the_same_for_every_order_of_inconsistent_metadata(
    facts: dict[str, PaymentEvent], random: randoms.Random, has_instructor: bool
) -> None:
    loads = [load(1)] if has_instructor else []
    table = after(shuffled_twice(facts, random), loads)
    assert table.end() == after(facts.items(), loads).end()
    for row in table.rows.values():
        assert (row.status is Status.RELEASED) == (row.desired.desired_status is DesiredStatus.RELEASED)


@given(histories(), st.randoms(use_true_random=False), st.booleans())
def test_any_order_and_duplication_of_the_events_ends_in_the_same_row(
    history: dict[str, PaymentEvent], random: randoms.Random, has_instructor: bool
) -> None:
    loads = [load(1)] if has_instructor else []
    table = after(shuffled_twice(history, random), loads)
    assert table.end() == after(history.items(), loads).end()
    assert any(row.instructor for row in table.rows.values()) <= has_instructor

    published = [event.type for change in table.changes for event in change.events]
    assigned = [type for type in published if type in ("instructor.assigned.v1", "instructor.released.v1")]
    assert assigned == (["instructor.assigned.v1", "instructor.released.v1"] * len(assigned))[: len(assigned)]
    ids = {(change.after.revision, event.type) for change in table.changes for event in change.events}
    assert len(ids) == len(published), "every event has its own id"
    assert all(event.revision == change.after.revision for change in table.changes for event in change.events)


def test_a_refunded_enrollment_that_is_being_bought_again_is_released_in_any_order() -> None:
    events = [paid_by_card(1)[0], refunded(1, PRICE.amount)[0], bank_debit(2, settles=True)[0]]
    for order in itertools.permutations(enumerate(events)):
        table = after([(f"evt_{number}/{event.type}", event) for number, event in order], [load(1)])
        assert [row.status for row in table.rows.values()] == [Status.RELEASED]


def test_an_enrollment_that_was_never_paid_for_has_no_row() -> None:
    for events in (bank_debit(1, settles=False), declined(1), expired(1)):
        table = after([(f"evt_{n}/{event.type}", event) for n, event in enumerate(events)], [])
        assert (table.rows, table.changes) == ({}, [])


loads_of_a_program = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=5).map(
    lambda pairs: [load(n, capacity=capacity, students=students) for n, (capacity, students) in enumerate(pairs)]
)


@given(loads_of_a_program, st.integers(0, 30))
def test_no_capacity_is_exceeded_and_none_is_left_unused(loads: list[InstructorLoad], students: int) -> None:
    available = {each.instructor.id: max(each.capacity - each.students, 0) for each in loads}
    changes = follow(assignments=[waiting(n) for n in range(students)], loads=loads, at=NOW)
    assert len(changes) == min(students, sum(available.values()))
    in_order = [UUID(int=n) for n in range(len(changes))]
    assert [change.after.desired.student_id for change in changes] == in_order
    for change in changes:
        assert change.after.instructor is not None
        available[change.after.instructor.id] -= 1
    assert all(left >= 0 for left in available.values())


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.data())
def test_loads_stay_within_one_student_of_each_other(capacities: list[int], data: st.DataObject) -> None:
    loads = [load(n, capacity) for n, capacity in enumerate(capacities)]
    students = data.draw(st.integers(0, sum(capacities)))
    assigned = dict.fromkeys((each.instructor.id for each in loads), 0)
    for change in follow(assignments=[waiting(n) for n in range(students)], loads=loads, at=NOW):
        assert change.after.instructor
        assigned[change.after.instructor.id] += 1
    for one in loads:
        for other in loads:
            before_the_last = Fraction(max(assigned[one.instructor.id] - 1, 0), one.capacity)
            assert before_the_last <= Fraction(assigned[other.instructor.id], other.capacity)


@given(loads_of_a_program, st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_the_rows(
    loads: list[InstructorLoad], random: randoms.Random
) -> None:
    shuffled = list(loads)
    random.shuffle(shuffled)
    assert least_loaded(loads) == least_loaded(shuffled)


def test_a_released_instructor_goes_to_the_longest_wait_and_not_to_a_new_student() -> None:
    of_one = load(9, capacity=1, students=1)
    leaving = waiting(1)
    leaving = replace(
        leaving,
        desired=replace(leaving.desired, desired_status=DesiredStatus.RELEASED),
        status=Status.ASSIGNED,
        instructor=of_one.instructor,
    )
    new = replace(waiting(2), status=Status.RELEASED)
    first, second = waiting(3), waiting(4)
    changes = follow(assignments=[new, leaving, first, second], loads=[of_one], at=NOW)
    assert [(change.after.id, change.after.status) for change in changes] == [
        (leaving.id, Status.RELEASED),
        (first.id, Status.ASSIGNED),
        (new.id, Status.WAITING),
    ]


def test_students_of_a_removed_instructor_are_reassigned_or_wait_and_both_are_published() -> None:
    removed = load(9).instructor
    students = [replace(waiting(n), status=Status.ASSIGNED, instructor=removed) for n in range(2)]
    later = NOW + timedelta(days=1)
    moved, left = reassign(students=students, loads=[load(1, capacity=1)], reason="instructor_inactive", at=later)
    assert [event.type for event in moved.events] == ["instructor.released.v1", "instructor.assigned.v1"]
    assert [event.type for event in left.events] == ["instructor.released.v1", "instructor.unavailable.v1"]
    assert (moved.after.status, left.after.status, left.after.since) == (Status.ASSIGNED, Status.WAITING, later)
    reasons = {event.reason for change in (moved, left) for event in change.events if hasattr(event, "reason")}
    assert reasons == {"instructor_inactive"}
