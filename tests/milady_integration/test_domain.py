"""What must hold of the decisions, whatever happens in whatever order: an enrollment, the steps about it, and Milady."""

from __future__ import annotations

import itertools
import random as randoms
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from tests.ledger.payment_histories import PRICE, bank_debit, declined, expired, histories, paid_by_card, refunded

from contracts.milady_integration import MiladyEvent
from contracts.payments import PaymentEvent
from ledger.enrollments_tmp import enrollments
from ledger.policy import DEFAULT_POLICY
from milady_integration import domain
from milady_integration.domain import Change, Mode, Place, Status, Step, Wish


@dataclass
class World:
    """One enrollment. Milady keeps its promise about idempotency keys, and nothing else is sure."""

    random: randoms.Random
    mode: Mode = "api"
    facts: dict[str, PaymentEvent] = field(default_factory=dict)
    place: Place | None = None
    said: list[str] = field(default_factory=list)
    steps: list[tuple[Step, int]] = field(default_factory=list)
    active: set[str] = field(default_factory=set)
    under_key: dict[int, str] = field(default_factory=dict)
    attempts: int = 0

    def hear(self, event_id: str, event: PaymentEvent) -> None:
        self.facts[event_id] = event
        for enrollment in enrollments(self.facts):
            wanted = domain.wanted(enrollment=enrollment, policy=DEFAULT_POLICY)
            self.apply(domain.follow(wanted=wanted, known=self.place, served=True, mode=self.mode))

    def apply(self, change: Change | None) -> None:
        if change is None:
            return
        before = self.place.generation if self.place else 0
        self.place = change.place
        if change.publishes:
            self._say(change.publishes)
        if change.place.generation > before:
            assert change.place.step is not None
            assert change.place.generation == before + 1
            assert not self.steps, "one step at a time"
            self.steps.append((change.place.step, change.place.generation))
            self.attempts = 0

    def _say(self, kind: type[MiladyEvent]) -> None:
        self.said.append(kind.type.split(".")[1])

    def uow(self, *, may_fail: bool = True) -> None:
        """One attempt at the step that is under way, as steps.py does it."""
        if not self.steps:
            return
        assert self.place is not None
        ((step, generation),) = self.steps
        self.attempts += 1
        turned = Wish.WITHDRAWN if step is Step.ENROLL else Wish.ENROLLED
        if self.attempts == 1 and self.place.wish is turned:
            self.steps.clear()
            return self.apply(domain.overtaken(place=self.place, mode=self.mode))
        fate = self.random.choice(["acts", "lost", "acts, answer lost", "refuses"]) if may_fail else "acts"
        if fate == "lost":
            return None
        if fate == "refuses":
            self.steps.clear()
            return self.apply(domain.refused(place=self.place, code="no", mode=self.mode))
        done = self._enroll(generation) if step is Step.ENROLL else self._withdraw()
        if fate == "acts, answer lost":
            return None
        self.steps.clear()
        return self.apply(done)

    def _enroll(self, generation: int) -> Change:
        assert self.place is not None
        there = min(self.active, default=None) if generation > 1 else None
        if there is None:
            there = self.under_key.get(generation)
        if there is None:
            there = self.under_key[generation] = f"men_{generation}"
            self.active.add(there)
        return domain.enrolled(place=self.place, milady_enrollment_id=there, links=(), mode=self.mode)

    def _withdraw(self) -> Change:
        assert self.place is not None
        known = self.place.milady_enrollment_id
        gone = {known} if known else set(self.active)
        self.active -= gone
        return domain.withdrawn(place=self.place, milady_enrollment_id=min(gone, default=None), mode=self.mode)

    def come_to_rest(self) -> None:
        """Milady is well again, and an admin retries what was refused."""
        for _ in range(20):
            self.uow(may_fail=False)
            if not self.steps and self.place and self.place.status is Status.FAILED:
                self.apply(domain.retry(place=self.place, mode=self.mode))
        assert not self.steps


@given(histories(), st.randoms(use_true_random=False))
def test_whatever_happens_milady_ends_as_the_facts_want_it(
    history: dict[str, PaymentEvent], random: randoms.Random
) -> None:
    order = list(history.items()) * 2
    random.shuffle(order)
    world = World(random)
    for event_id, event in order:
        world.hear(event_id, event)
        for _ in range(random.randint(0, 3)):
            world.uow()
            assert len(world.active) <= 1, "never two enrollments at once"
    world.come_to_rest()

    wishes = [domain.wanted(enrollment=enrollment, policy=DEFAULT_POLICY) for enrollment in enrollments(history)]
    wish = wishes[0].wish if wishes else None
    if wish is None:
        assert (world.place, world.active, world.said) == (None, set(), [])
        return
    assert world.place is not None
    assert world.place.status.value == world.place.wish.value == wish.value
    assert len(world.active) == (1 if wish is Wish.ENROLLED else 0)
    if wish is Wish.ENROLLED:
        assert {world.place.milady_enrollment_id} == world.active
    last = [said for said in world.said if said != "failed"][-1:]
    assert last in ([["enrolled"]] if wish is Wish.ENROLLED else [[], ["withdrawn"]])


@given(histories(), st.randoms(use_true_random=False))
def test_any_order_and_duplication_ends_in_the_same_row(
    history: dict[str, PaymentEvent], random: randoms.Random
) -> None:
    def end(order: list[tuple[str, PaymentEvent]]) -> object:
        world = World(random)
        for event_id, event in order:
            world.hear(event_id, event)
            world.uow(may_fail=False)
        world.come_to_rest()
        place = world.place
        return place and (place.status, place.wish, place.reason, place.purchase_id, place.announced)

    shuffled = list(history.items()) * 2
    random.shuffle(shuffled)

    def row(found: object) -> object:
        return found[:4] if isinstance(found, tuple) else found

    assert row(end(shuffled)) == row(end(list(history.items())))


def test_a_refunded_enrollment_that_is_being_bought_again_is_withdrawn_in_any_order() -> None:
    events = [paid_by_card(1)[0], refunded(1, PRICE.amount)[0], bank_debit(2, settles=True)[0]]
    for order in itertools.permutations(enumerate(events)):
        world = World(randoms.Random(1))
        for number, event in order:
            world.hear(f"evt_{number}/{event.type}", event)
            world.uow(may_fail=False)
        world.come_to_rest()
        assert world.place is not None
        assert (world.place.status, world.active) == (Status.WITHDRAWN, set())


def test_what_was_never_paid_has_no_place() -> None:
    for events in (bank_debit(1, settles=False), declined(1), expired(1)):
        world = World(randoms.Random(1))
        for number, event in enumerate(events):
            world.hear(f"evt_{number}/{event.type}", event)
        assert world.place is None


@given(histories(), st.randoms(use_true_random=False))
def test_without_an_api_nothing_is_asked_and_a_human_sees_what_is_to_be_done(
    history: dict[str, PaymentEvent], random: randoms.Random
) -> None:
    world = World(random, mode="manual")
    order = list(history.items())
    random.shuffle(order)
    for event_id, event in order:
        world.hear(event_id, event)
        place = world.place
        if place and place.status is Status.MANUAL and random.random() < 0.5:
            world.apply(domain.confirm_enrolled(place=place, milady_enrollment_id="by-hand", links=(), mode="manual"))
    assert world.steps == []
    place = world.place
    if place is None:
        return
    if place.wish is Wish.ENROLLED:
        assert place.status in (Status.MANUAL, Status.ENROLLED)
    elif place.status is not Status.WITHDRAWN:
        assert place.status is Status.ENROLLED, "stays on the list until a human has withdrawn it"
        world.apply(domain.confirm_withdrawn(place=place, mode="manual"))
        assert world.said[-2:] == ["enrolled", "withdrawn"]
