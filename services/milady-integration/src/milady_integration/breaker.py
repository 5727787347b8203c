"""A circuit breaker: stops asking somebody who does not answer, and finds out with a single question when they do.

closed      everything is let through; `failures` in a row open it
open        nothing is let through for `open_seconds`
half open   one call is let through, the probe: its outcome closes the circuit or opens it again

A call that was let in before the circuit last changed has no say about what it is now. Source: M. Nygard, Release It!,
chapter 5; https://martinfowler.com/bliki/CircuitBreaker.html
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum

from kit.runtime.failures import Transient


class CircuitOpen(Transient):
    """The provider was not asked: it did not answer lately, or told us to wait."""


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """For one provider in one process. `clock` counts seconds; a ticket from `admit` belongs to one call."""

    def __init__(
        self, *, failures: int = 5, open_seconds: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._state = State.CLOSED
        self._failed = 0
        self._epoch = 0
        self._until = 0.0
        self._held_until = 0.0

    @property
    def state(self) -> State:
        return self._state

    def admit(self) -> int:
        """The ticket of a call that may be made now. Raises CircuitOpen."""
        now = self._clock()
        if now < self._held_until:
            raise CircuitOpen("told to wait")
        if self._state is State.OPEN and now >= self._until:
            self._become(State.HALF_OPEN)
            return self._epoch
        if self._state is not State.CLOSED:
            raise CircuitOpen(f"circuit {self._state}")
        return self._epoch

    def succeeded(self, ticket: int) -> None:
        """The provider answered, whatever it said."""
        if ticket != self._epoch:
            return
        self._failed = 0
        if self._state is State.HALF_OPEN:
            self._become(State.CLOSED)

    def failed(self, ticket: int) -> None:
        """The provider did not answer, or not in its right mind."""
        if ticket != self._epoch:
            return
        self._failed += 1
        if self._state is State.HALF_OPEN or self._failed >= self._most:
            self._until = self._clock() + self._open_seconds
            self._become(State.OPEN)

    def abandoned(self, ticket: int) -> None:
        """The call was broken off by ourselves: it says nothing, but a probe gives its place to the next."""
        if ticket == self._epoch and self._state is State.HALF_OPEN:
            self._until = self._clock()
            self._become(State.OPEN)

    def hold(self, seconds: float) -> None:
        """The provider asks for a pause (Retry-After)."""
        self._held_until = max(self._held_until, self._clock() + seconds)

    def _become(self, state: State) -> None:
        self._state = state
        self._failed = 0
        self._epoch += 1
