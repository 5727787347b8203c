"""The circuit breaker as a state machine, against a plain model of what it promises."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from milady_integration.breaker import Breaker, CircuitOpen, State

FAILURES = 3
OPEN_SECONDS = 10.0


class BreakerMachine(RuleBasedStateMachine):
    """Calls that overlap, in any order, with the clock in our hands."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = Breaker(failures=FAILURES, open_seconds=OPEN_SECONDS, clock=lambda: self.now)
        self.failed_in_a_row = 0
        self.opened_at = 0.0
        self.held_until = 0.0
        self.probe: int | None = None
        self.state_before = State.CLOSED
        self.changes = 0

    tickets = Bundle("tickets")

    @rule(seconds=st.floats(0.1, 15))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.floats(0, 20))
    def told_to_wait(self, seconds: float) -> None:
        self.breaker.hold(seconds)
        self.held_until = max(self.held_until, self.now + seconds)

    @rule(target=tickets)
    def call(self) -> tuple[int, int]:
        before = self.breaker.state
        try:
            ticket = self.breaker.admit()
        except CircuitOpen:
            held = self.now < self.held_until
            waiting = before is State.OPEN and self.now < self.opened_at + OPEN_SECONDS
            assert held or waiting or before is State.HALF_OPEN, "refused without a reason"
            return (-1, -1)
        assert self.now >= self.held_until
        if before is State.OPEN:
            assert self.breaker.state is State.HALF_OPEN
            assert self.probe is None, "one probe at a time"
            self.probe = ticket
            self.changes += 1
        else:
            assert before is State.CLOSED, "only one call is let in while half open"
        return (ticket, self.changes)

    @rule(ticket=consumes(tickets), outcome=st.sampled_from(["succeeded", "failed", "abandoned"]))
    def a_call_ends(self, ticket: tuple[int, int], outcome: str) -> None:
        before = self.breaker.state
        number, let_in_at = ticket
        if number == -1:
            return
        getattr(self.breaker, outcome)(number)
        after = self.breaker.state
        if let_in_at != self.changes:
            assert after is before, "a call from before the last change has no say"
            return
        if before is State.HALF_OPEN:
            self.probe = None
            assert after is (State.CLOSED if outcome == "succeeded" else State.OPEN)
            self.failed_in_a_row = 0
            self.opened_at = self.now if outcome == "failed" else self.now - OPEN_SECONDS
        elif outcome == "succeeded":
            self.failed_in_a_row = 0
            assert after is State.CLOSED
        elif outcome == "failed":
            self.failed_in_a_row += 1
            assert (after is State.OPEN) == (self.failed_in_a_row >= FAILURES)
            self.opened_at = self.now
        if after is not before:
            self.failed_in_a_row = 0
            self.changes += 1

    @precondition(lambda self: self.breaker.state is State.OPEN)
    @rule()
    def it_is_never_open_for_ever(self) -> None:
        self.now = max(self.now + OPEN_SECONDS, self.held_until)
        self.breaker.succeeded(self.breaker.admit())
        assert self.breaker.state is State.CLOSED
        self.failed_in_a_row = 0
        self.changes += 2

    @invariant()
    def half_open_means_one_probe_is_out(self) -> None:
        assert (self.breaker.state is State.HALF_OPEN) == (self.probe is not None)


BreakerMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestBreaker = BreakerMachine.TestCase


def test_it_opens_probes_and_closes() -> None:
    now = 0.0
    breaker = Breaker(failures=2, open_seconds=5, clock=lambda: now)
    for _ in range(2):
        breaker.failed(breaker.admit())
    with pytest.raises(CircuitOpen):
        breaker.admit()
    now = 5.0
    probe = breaker.admit()
    with pytest.raises(CircuitOpen, match="half_open"):
        breaker.admit()
    breaker.failed(probe)
    with pytest.raises(CircuitOpen, match="open"):
        breaker.admit()
    now = 10.0
    breaker.succeeded(breaker.admit())
    assert breaker.state is State.CLOSED
