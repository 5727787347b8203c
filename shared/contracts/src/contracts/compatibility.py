"""Whether an event may change its schema in place: old and new consumers must both understand what is on the bus.

Compares JSON schemas as pydantic writes them for our events. A consumer ignores fields it does not know, so

- a new field must be optional (a new consumer reads old messages),
- a required field must stay, and stay required (an old consumer reads new messages),
- a field keeps its type; a list of allowed values may neither grow (old consumers) nor shrink (new consumers).

Anything else needs a new version of the event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_ANNOTATIONS = frozenset({"title", "description", "default", "examples"})
"""Keywords that do not affect validation."""


def breaks(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The incompatible changes, one line each; empty when `new` may replace `old`."""
    return sorted(set(_breaks(old, new, old, new, "")))


def _breaks(
    old: Mapping[str, Any], new: Mapping[str, Any], old_root: Mapping[str, Any], new_root: Mapping[str, Any], at: str
) -> Iterator[str]:
    old, new = _resolved(old, old_root), _resolved(new, new_root)
    here = at or "the event"
    was, now = set(old.get("required", ())), set(new.get("required", ()))
    yield from (f"{at}{name} is required now" for name in now - was)
    yield from (f"{at}{name} is no longer required" for name in was - now)
    properties, newer = old.get("properties", {}), new.get("properties", {})
    yield from (f"{at}{name} was removed" for name in properties.keys() - newer.keys())
    for name in properties.keys() & newer.keys():
        yield from _breaks(properties[name], newer[name], old_root, new_root, f"{at}{name}.")
    for inner in ("items", "additionalProperties"):
        if isinstance(old.get(inner), Mapping) and isinstance(new.get(inner), Mapping):
            yield from _breaks(old[inner], new[inner], old_root, new_root, f"{at}{inner}.")
    alternatives, others = old.get("anyOf", []), new.get("anyOf", [])
    if len(alternatives) != len(others):
        yield f"{here} changes its alternatives"
    else:
        for before, after in zip(alternatives, others, strict=True):
            yield from _breaks(before, after, old_root, new_root, at)
    compared = {"properties", "required", "items", "additionalProperties", "anyOf", "$defs", *_ANNOTATIONS}
    for keyword in (old.keys() | new.keys()) - compared:
        if old.get(keyword) != new.get(keyword):
            yield f"{here} changes its {keyword}: {old.get(keyword)!r} -> {new.get(keyword)!r}"


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    found: Mapping[str, Any] = root["$defs"][reference.rsplit("/", 1)[-1]]
    return found
