"""Whether a schema may follow another: both old readers and new readers must understand what is on the bus.

Compared are JSON schemas as pydantic writes them for our events. A reader ignores fields that it does not know, so

- a new field must be optional (a new reader meets old messages),
- a required field must stay, and stay required (an old reader meets new messages),
- a field keeps its type; a list of allowed values may neither grow (old readers) nor shrink (new readers).

Anything else is a new version of the event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_WORDS = frozenset({"title", "description", "default", "examples"})
"""What a schema says only to people."""


def breaks(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What would be misunderstood, one line for each; nothing when `new` may follow `old`."""
    return sorted(set(_breaks(old, new, old, new, "")))


def _breaks(
    old: Mapping[str, Any], new: Mapping[str, Any], old_root: Mapping[str, Any], new_root: Mapping[str, Any], at: str
) -> Iterator[str]:
    old, new = _resolved(old, old_root), _resolved(new, new_root)
    here = at or "the event"
    was, now = set(old.get("required", ())), set(new.get("required", ()))
    yield from (f"{at}{name} is required now" for name in now - was)
    yield from (f"{at}{name} is no longer sure to be there" for name in was - now)
    properties, newer = old.get("properties", {}), new.get("properties", {})
    yield from (f"{at}{name} is gone" for name in properties.keys() - newer.keys())
    for name in properties.keys() & newer.keys():
        yield from _breaks(properties[name], newer[name], old_root, new_root, f"{at}{name}.")
    for inner in ("items", "additionalProperties"):
        if isinstance(old.get(inner), Mapping) and isinstance(new.get(inner), Mapping):
            yield from _breaks(old[inner], new[inner], old_root, new_root, f"{at}{inner}.")
    alternatives, others = old.get("anyOf", []), new.get("anyOf", [])
    if len(alternatives) != len(others):
        yield f"{here} may be something else now"
    else:
        for before, after in zip(alternatives, others, strict=True):
            yield from _breaks(before, after, old_root, new_root, at)
    told = {"properties", "required", "items", "additionalProperties", "anyOf", "$defs", *_WORDS}
    for word in (old.keys() | new.keys()) - told:
        if old.get(word) != new.get(word):
            yield f"{here} changes its {word}: {old.get(word)!r} -> {new.get(word)!r}"


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    found: Mapping[str, Any] = root["$defs"][reference.rsplit("/", 1)[-1]]
    return found
