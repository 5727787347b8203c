"""The event log: what happened, as the objects looked at that moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stripe_sandbox.clock import Clock
from stripe_sandbox.ids import new_id
from stripe_sandbox.store import Obj, Store, clone

_MISSING = object()


@dataclass(frozen=True)
class Cause:
    """The API request that an event comes from; both are none for what a customer or the clock did."""

    request: str | None = None
    idempotency_key: str | None = None


class EventLog:
    """Events are appended while a request is handled, and taken for delivery when it has been handled."""

    def __init__(self, store: Store, clock: Clock, api_version: str) -> None:
        self._store = store
        self._clock = clock
        self._api_version = api_version
        self._fresh: list[Obj] = []
        self.cause = Cause()

    @contextmanager
    def held(self) -> Iterator["Held"]:
        """Lets an event be put in front of those logged meanwhile (see `Held.first`)."""
        yield Held(self, len(self._fresh))

    def emit(self, type: str, obj: Obj, before: Obj | None = None) -> Obj:
        """Log one event with a snapshot of `obj`; with `before` (a copy of earlier) also what changed since."""
        data: Obj = {"object": clone(obj)}
        if before is not None:
            data["previous_attributes"] = changed(before, obj)
        event = {
            "id": new_id("evt"),
            "object": "event",
            "api_version": self._api_version,
            "created": self._clock.now(),
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": {"id": self.cause.request, "idempotency_key": self.cause.idempotency_key},
            "type": type,
        }
        self._fresh.append(self._store.add(event))
        return event

    def emit_at(self, position: int, type: str, obj: Obj, before: Obj | None = None) -> None:
        """Log an event in front of those logged since `position`."""
        later, self._fresh = self._fresh[position:], self._fresh[:position]
        for event in later:
            self._store.remove(event)
        self.emit(type, obj, before)
        for event in later:
            self._fresh.append(self._store.add(event))

    def take(self) -> list[Obj]:
        """The events logged since the last call, oldest first."""
        fresh, self._fresh = self._fresh, []
        return fresh


class Held:
    """A place in the log to which an event can still be added."""

    def __init__(self, log: EventLog, position: int) -> None:
        self._log = log
        self._position = position

    def first(self, type: str, obj: Obj, before: Obj | None = None) -> None:
        """Log an event in front of all that were logged since, with the object as it is now."""
        self._log.emit_at(self._position, type, obj, before)


def changed(before: Obj, after: Obj) -> Obj:
    """Earlier values of the attributes that differ; nested hashes name only what differs inside them."""
    difference: Obj = {}
    for name in before.keys() | after.keys():
        old: Any = before.get(name, _MISSING)
        new: Any = after.get(name, _MISSING)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            difference[name] = changed(old, new)
        else:
            difference[name] = None if old is _MISSING else clone(old)
    return difference
