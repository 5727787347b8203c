"""Properties of the decisions, for events in any order: an enrollment, its steps, and Milady."""

from __future__ import annotations

import itertools
import random as randoms
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from tests.ledger.inconsistent_metadata import inconsistent_histories
from tests.ledger.payment_histories import PRICE, bank_debit, declined, expired, histories, paid_by_card, refunded

from contracts.milady_integration import MiladyEvent
from contracts.payments import PaymentEvent
from milady_integration import domain
from milady_integration.domain import Change, DesiredState, Mode, ProviderEnrollment, Status, Step


@dataclass
class World:
    """One enrollment. Milady honors idempotency keys; nothing else is certain."""

    random: randoms.Random
    mode: Mode = "api"
    facts: dict[str, PaymentEvent] = field(default_factory=dict)
    row: ProviderEnrollment | None = None
    published: list[str] = field(default_factory=list)
    steps: list[tuple[Step, int]] = field(default_factory=list)
    active: set[str] = field(default_factory=set)
    by_key: dict[int, str] = field(default_factory=dict)
    attempts: int = 0

    def handle(self, event_id: str, event: PaymentEvent) -> None:
        self.facts[event_id] = event
        for enrollment in domain.wanted(self.facts).values():
            change = domain.reconcile(enrollment=enrollment, existing=self.row, served=True, mode=self.mode)
            self.apply(change)

    def apply(self, change: Change | None) -> None:
        if change is None:
            return
        before = self.row.generation if self.row else 0
        self.row = change.after
        if change.event:
            self._publish(change.event)
        if change.after.generation > before:
            assert change.after.step is not None
            assert change.after.generation == before + 1
            assert not self.steps, "one step at a time"
            self.steps.append((change.after.step, change.after.generation))
            self.attempts = 0

    def _publish(self, kind: type[MiladyEvent]) -> None:
        self.published.append(kind.type.split(".")[1])

    def attempt(self, *, may_fail: bool = True) -> None:
        """One attempt at the step in progress, as jobs.py makes it."""
        if not self.steps:
            return
        assert self.row is not None
        ((step, generation),) = self.steps
        self.attempts += 1
        unless = DesiredState.WITHDRAWN if step is Step.ENROLL else DesiredState.ENROLLED
        if self.attempts == 1 and self.row.desired_state is unless:
            self.steps.clear()
            return self.apply(domain.canceled(existing=self.row, mode=self.mode))
        fate = self.random.choice(["acts", "lost", "acts, response lost", "refuses"]) if may_fail else "acts"
        if fate == "lost":
            return None
        if fate == "refuses":
            self.steps.clear()
            return self.apply(domain.refused(existing=self.row, code="no", mode=self.mode))
        outcome = self._enroll(generation) if step is Step.ENROLL else self._withdraw()
        if fate == "acts, response lost":
            return None
        self.steps.clear()
        return self.apply(outcome)

    def _enroll(self, generation: int) -> Change:
        assert self.row is not None
        found = min(self.active, default=None) if generation > 1 else None
        if found is None:
            found = self.by_key.get(generation)
        if found is None:
            found = self.by_key[generation] = f"men_{generation}"
            self.active.add(found)
        return domain.enrolled(existing=self.row, milady_enrollment_id=found, links=(), mode=self.mode)

    def _withdraw(self) -> Change:
        assert self.row is not None
        id = self.row.milady_enrollment_id
        ended = {id} if id else set(self.active)
        self.active -= ended
        return domain.withdrawn(existing=self.row, milady_enrollment_id=min(ended, default=None), mode=self.mode)

    def recover(self) -> None:
        """Milady is available again, and an admin retries what was refused."""
        for _ in range(20):
            self.attempt(may_fail=False)
            if not self.steps and self.row and self.row.status is Status.FAILED:
                self.apply(domain.retry(existing=self.row, mode=self.mode))
        assert not self.steps


def shuffled_twice(facts: dict[str, PaymentEvent], random: randoms.Random) -> list[tuple[str, PaymentEvent]]:
    order = list(facts.items()) * 2
    random.shuffle(order)
    return order


@given(inconsistent_histories(), st.randoms(use_true_random=False))
def test_the_wanted_rows_are_the_same_for_every_order_and_duplication(
    facts: dict[str, PaymentEvent], random: randoms.Random
) -> None:
    assert domain.wanted(dict(shuffled_twice(facts, random))) == domain.wanted(facts)


@given(histories(), st.randoms(use_true_random=False))
def test_whatever_fails_milady_ends_as_the_facts_want_it(
    history: dict[str, PaymentEvent], random: randoms.Random
) -> None:
    world = World(random)
    for event_id, event in shuffled_twice(history, random):
        world.handle(event_id, event)
        for _ in range(random.randint(0, 3)):
            world.attempt()
            assert len(world.active) <= 1, "never two enrollments at once"
    world.recover()

    states = [enrollment.desired_state for enrollment in domain.wanted(history).values()]
    state = states[0] if states else None
    if state is None:
        assert (world.row, world.active, world.published) == (None, set(), [])
        return
    assert world.row is not None
    assert world.row.status.value == world.row.desired_state.value == state.value
    assert len(world.active) == (1 if state is DesiredState.ENROLLED else 0)
    if state is DesiredState.ENROLLED:
        assert {world.row.milady_enrollment_id} == world.active
    last = [type for type in world.published if type != "failed"][-1:]
    assert last in ([["enrolled"]] if state is DesiredState.ENROLLED else [[], ["withdrawn"]])


@given(histories(), st.randoms(use_true_random=False))
def test_any_order_and_duplication_ends_in_the_same_row(
    history: dict[str, PaymentEvent], random: randoms.Random
) -> None:
    def end(order: list[tuple[str, PaymentEvent]]) -> object:
        world = World(random)
        for event_id, event in order:
            world.handle(event_id, event)
            world.attempt(may_fail=False)
        world.recover()
        row = world.row
        return row and (row.status, row.desired_state, row.reason, row.purchase_id)

    assert end(shuffled_twice(history, random)) == end(list(history.items()))


def test_a_refunded_enrollment_that_is_being_bought_again_is_withdrawn_in_any_order() -> None:
    events = [paid_by_card(1)[0], refunded(1, PRICE.amount)[0], bank_debit(2, settles=True)[0]]
    for order in itertools.permutations(enumerate(events)):
        world = World(randoms.Random(1))
        for number, event in order:
            world.handle(f"evt_{number}/{event.type}", event)
            world.attempt(may_fail=False)
        world.recover()
        assert world.row is not None
        assert (world.row.status, world.active) == (Status.WITHDRAWN, set())


def test_an_enrollment_that_was_never_paid_for_has_no_provider_enrollment() -> None:
    for events in (bank_debit(1, settles=False), declined(1), expired(1)):
        world = World(randoms.Random(1))
        for number, event in enumerate(events):
            world.handle(f"evt_{number}/{event.type}", event)
        assert world.row is None


@given(histories(), st.randoms(use_true_random=False))
def test_in_manual_mode_nothing_is_sent_and_an_admin_sees_what_to_do(
    history: dict[str, PaymentEvent], random: randoms.Random
) -> None:
    world = World(random, mode="manual")
    order = list(history.items())
    random.shuffle(order)
    for event_id, event in order:
        world.handle(event_id, event)
        row = world.row
        if row and row.status is Status.MANUAL and random.random() < 0.5:
            confirmed = domain.confirm_enrolled(existing=row, milady_enrollment_id="by-hand", links=(), mode="manual")
            world.apply(confirmed)
    assert world.steps == []
    row = world.row
    if row is None:
        return
    if row.desired_state is DesiredState.ENROLLED:
        assert row.status in (Status.MANUAL, Status.ENROLLED)
    elif row.status is not Status.WITHDRAWN:
        assert row.status is Status.ENROLLED, "stays on the list until an admin has withdrawn the student"
        world.apply(domain.confirm_withdrawn(existing=row, mode="manual"))
        assert world.published[-2:] == ["enrolled", "withdrawn"]
