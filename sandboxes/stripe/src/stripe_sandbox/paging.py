"""Lists: newest first, with cursors and common filters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from stripe_sandbox.errors import StripeError, no_such
from stripe_sandbox.operation import Call
from stripe_sandbox.params import Params
from stripe_sandbox.store import Obj, Store

_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
}


def page(call: Call, objects: Iterable[Obj], url: str) -> Obj:
    """A page of `objects` (given oldest first, returned newest first).

    Raises for a cursor that never existed. A cursor need not match the filters.
    """
    params = call.params
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise StripeError("Invalid limit: must be between 1 and 100", code="parameter_invalid_integer", param="limit")
    newest = list(objects)[::-1]
    if "starting_after" in params:
        after, _ = _split(call.sandbox.store, newest, params["starting_after"], "starting_after")
        data, has_more = after[:limit], len(after) > limit
    elif "ending_before" in params:
        _, before = _split(call.sandbox.store, newest, params["ending_before"], "ending_before")
        data, has_more = before[-limit:], len(before) > limit
    else:
        data, has_more = newest[:limit], len(newest) > limit
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def _split(store: Store, newest: list[Obj], cursor: str, param: str) -> tuple[list[Obj], list[Obj]]:
    """(objects older than the cursor, objects newer), both newest first."""
    ids = [obj["id"] for obj in newest]
    if cursor in ids:
        at = ids.index(cursor)
        return newest[at + 1 :], newest[:at]
    if (position := store.position(cursor)) is None:
        raise no_such(newest[0]["object"] if newest else "object", cursor, param=param, status=400)
    older = [obj for obj in newest if (store.position(obj["id"]) or 0) < position]
    return older, newest[: len(newest) - len(older)]


def created_within(objects: Iterable[Obj], window: Any, field: str = "created") -> list[Obj]:
    """Objects created at a time or within `{gt, gte, lt, lte}`; all without a window."""
    if window is None:
        return list(objects)
    bounds = window if isinstance(window, dict) else {"gte": window, "lte": window}
    return [o for o in objects if all(_COMPARE[name](o[field], bound) for name, bound in bounds.items())]


def matching(objects: Iterable[Obj], params: Params, *fields: str) -> list[Obj]:
    """Objects that match the `created` parameter and the parameters named in `fields`."""
    wanted = {name: params[name] for name in fields if name in params}
    within = created_within(objects, params.get("created"))
    return [o for o in within if all(o.get(name) == value for name, value in wanted.items())]
