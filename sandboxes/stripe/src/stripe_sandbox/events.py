"""The event log. Each event has a snapshot of its object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stripe_sandbox.clock import Clock
from stripe_sandbox.ids import new_id
from stripe_sandbox.store import Obj, Store, clone

_MISSING = object()


@dataclass(frozen=True)
class Cause:
    """The API request that caused an event; both are None for actions of a customer or the clock."""

    request: str | None = None
    idempotency_key: str | None = None


class EventLog:
    """Events are appended during a request and taken for delivery at its end."""

    def __init__(self, store: Store, clock: Clock, api_version: str) -> None:
        self._store = store
        self._clock = clock
        self._api_version = api_version
        self._pending: list[Obj] = []
        self.cause = Cause()

    def mark(self) -> Mark:
        """The current position in the log, to insert an event there later."""
        return Mark(self, len(self._pending))

    def emit(self, type: str, obj: Obj, before: Obj | None = None) -> Obj:
        """Logs an event with a snapshot of `obj`; with its previous state `before`, also `previous_attributes`."""
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
        self._pending.append(self._store.add(event))
        return event

    def emit_at(self, position: int, type: str, obj: Obj, before: Obj | None = None) -> None:
        """Inserts an event at `position`, before those logged since."""
        later, self._pending = self._pending[position:], self._pending[:position]
        for event in later:
            self._store.remove(event)
        self.emit(type, obj, before)
        for event in later:
            self._pending.append(self._store.add(event))

    def pending(self) -> list[Obj]:
        """Events that have not been taken."""
        return self._pending

    def restore(self, pending: list[Obj]) -> None:
        self._pending = pending

    def take(self) -> list[Obj]:
        """Events logged since the last call, oldest first."""
        pending, self._pending = self._pending, []
        return pending


class Mark:
    """A position in the log."""

    def __init__(self, log: EventLog, position: int) -> None:
        self._log = log
        self._position = position

    def emit(self, type: str, obj: Obj, before: Obj | None = None) -> None:
        """Inserts an event here, with the current state of the object."""
        self._log.emit_at(self._position, type, obj, before)


def changed(before: Obj, after: Obj) -> Obj:
    """Previous values of the attributes that differ; in nested hashes, only of those that differ."""
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
