"""The `expand` parameter: replaces ids with objects and adds fields that are only included on request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from stripe_sandbox.errors import StripeError
from stripe_sandbox.store import Obj, clone

if TYPE_CHECKING:
    from stripe_sandbox.state import Sandbox

_MAX_DEPTH = 4

OnRequest = Callable[["Sandbox", Obj], Obj | None]
ON_REQUEST: dict[tuple[str, str], OnRequest] = {}
"""(object type, field) -> function that builds the field. Registered by the resource modules."""


def expand(sandbox: Sandbox, response: Obj, paths: list[str]) -> Obj:
    """A copy of the response with each path expanded. Raises a StripeError for an invalid path."""
    expanded: Obj = clone(response)
    for path in paths:
        steps = path.split(".")
        if len([step for step in steps if step != "data"]) > _MAX_DEPTH:
            raise StripeError(
                f"You cannot expand more than {_MAX_DEPTH} levels of a property ({path}).", param="expand"
            )
        _walk(sandbox, expanded, steps, path)
    return expanded


def _walk(sandbox: Sandbox, at: Obj, steps: list[str], path: str) -> None:
    name, rest = steps[0], steps[1:]
    if name not in at:
        at[name] = _field_on_request(sandbox, at, name, path)
    value = at[name]
    if isinstance(value, list):
        at[name] = [_step(sandbox, item, rest, path) for item in value]
    else:
        at[name] = _step(sandbox, value, rest, path)


def _step(sandbox: Sandbox, value: object, rest: list[str], path: str) -> object:
    if isinstance(value, str):
        found = sandbox.store.find(value)
        if found is None:
            raise _not_expandable(path)
        value = clone(found)
    if value is not None and not isinstance(value, dict):
        raise _not_expandable(path)
    if rest and value is not None:
        _walk(sandbox, value, rest, path)
    return value


def _field_on_request(sandbox: Sandbox, at: Obj, name: str, path: str) -> Obj | None:
    make = ON_REQUEST.get((str(at.get("object")), name))
    if make is None:
        raise _not_expandable(path)
    field: Obj | None = clone(make(sandbox, at))
    return field


def _not_expandable(path: str) -> StripeError:
    return StripeError(f"This property cannot be expanded ({path}).", param="expand")
