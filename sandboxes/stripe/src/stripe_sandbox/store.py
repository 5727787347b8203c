"""All objects by type and id, in order of creation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stripe_sandbox.errors import no_such

_PATH_PARAMS = {"payment_intent": "intent", "setup_intent": "intent", "invoice": "invoice"}
"""The names of ids in the path, in errors; `id` for other types."""

Obj = dict[str, Any]
"""An object in Stripe's JSON shape."""


def clone(value: Any) -> Any:
    """A deep copy of a JSON value, three times as fast as `copy.deepcopy`."""
    if isinstance(value, dict):
        return {key: clone(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [clone(inner) for inner in value]
    return value


class Store:
    """Objects are mutable dictionaries in the format of the API."""

    def __init__(self) -> None:
        self._by_type: dict[str, dict[str, Obj]] = {}
        self._by_id: dict[str, Obj] = {}
        self._unfinished: dict[str, dict[str, Obj]] = {}
        self._positions: dict[str, int] = {}
        self._next = 0
        self._touched: set[str] | None = None
        self._swept: set[str] = set()
        """Types of which `unfinished` was asked."""

    def track(self) -> None:
        """From now on, remembers which objects are read: only those can change."""
        self._touched = set()

    def take_touched(self) -> list[tuple[str, int, Obj | None]]:
        """(id, position, object or None if it was removed) of what was read since the last call."""
        touched, self._touched = self._touched or set(), set()
        return [(id, self._positions[id], self._by_id.get(id)) for id in touched if id in self._positions]

    def touch_unfinished(self) -> None:
        """Counts the objects of `unfinished` as read: something is done with one of them."""
        for kind, kept in self._unfinished.items():
            if self._touched is not None and kind in self._swept:
                self._touched.update(kept)

    def restore(self, id: str, position: int, obj: Obj | None) -> None:
        """Adds an object, or what is left of one that was removed. Call it in the order of positions."""
        self._positions[id], self._next = position, max(position, self._next)
        if obj is not None:
            self._index(obj)

    def add(self, obj: Obj) -> Obj:
        self._index(obj)
        self._positions[obj["id"]] = self._next = self._next + 1
        self._touch(obj["id"])
        return obj

    def _index(self, obj: Obj) -> None:
        self._by_type.setdefault(obj["object"], {})[obj["id"]] = obj
        self._by_id[obj["id"]] = obj
        self._unfinished.setdefault(obj["object"], {})[obj["id"]] = obj

    def _touch(self, id: str) -> None:
        if self._touched is not None:
            self._touched.add(id)

    def position(self, id: str) -> int | None:
        """The position of an object in the order of creation, also if it was removed."""
        return self._positions.get(id)

    def remove(self, obj: Obj) -> None:
        self._touch(obj["id"])
        self._by_type.get(obj["object"], {}).pop(obj["id"], None)
        self._by_id.pop(obj["id"], None)
        self._unfinished.get(obj["object"], {}).pop(obj["id"], None)

    def find(self, id: str) -> Obj | None:
        """The object with this id, of any type."""
        self._touch(id)
        return self._by_id.get(id)

    def get(self, object_type: str, id: str) -> Obj:
        """The object with the id in the path. Raises 404 resource_missing."""
        self._touch(id)
        obj = self._by_type.get(object_type, {}).get(id)
        if obj is None:
            raise no_such(object_type, id, param=_PATH_PARAMS.get(object_type, "id"))
        return obj

    def param(self, object_type: str, id: str, param: str) -> Obj:
        """The object with the id in a parameter. Raises 400 resource_missing with the parameter's name."""
        self._touch(id)
        obj = self._by_type.get(object_type, {}).get(id)
        if obj is None:
            raise no_such(object_type, id, param=param, status=400)
        return obj

    def all(self, object_type: str) -> list[Obj]:
        """All objects of a type, oldest first, to read only."""
        return list(self._by_type.get(object_type, {}).values())

    def unfinished(self, object_type: str, *final: str) -> list[Obj]:
        """Objects of a type without a final status, oldest first. A final status is permanent."""
        self._swept.add(object_type)
        kept = self._unfinished.get(object_type, {})
        for id in [id for id, obj in kept.items() if obj["status"] in final]:
            del kept[id]
        return list(kept.values())

    def where(self, object_type: str, **fields: Any) -> Iterator[Obj]:
        """Objects of a type with these field values, oldest first."""
        found = self.all(object_type)
        for name, value in fields.items():
            found = [obj for obj in found if obj.get(name) == value]
        for obj in found:
            self._touch(obj["id"])
            yield obj
