"""Validation of request parameters against the SDK's TypedDicts.

`stripe.params` has a TypedDict per call. Its annotations define the types of the values (the request has only strings),
the existing and required parameters, and the values of enums. So parameters removed in a newer API version are rejected
without a list to maintain.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

from stripe import RequestOptions
from typing_extensions import is_typeddict

from stripe_sandbox.errors import StripeError, missing_param, unknown_param
from stripe_sandbox.rules.requests import METADATA_KEY_LENGTH, METADATA_KEYS, METADATA_VALUE_LENGTH

Params = dict[str, Any]

_CLIENT_ONLY = frozenset(RequestOptions.__annotations__)  # options of the client that are never sent
_METADATA_KEYS, _METADATA_KEY, _METADATA_VALUE = 50, 40, 500
_ABSENT = object()


def read(declared: type | None, wire: Mapping[str, Any]) -> Params:
    """The typed parameters of a request. Raises Stripe's error for the first invalid one."""
    return _record(declared, wire, "") if declared is not None else _only_expand(wire)


def merge_metadata(current: Mapping[str, str] | None, given: Any) -> dict[str, str]:
    """Metadata after an update: an empty value removes its key, an empty string removes all keys."""
    if given == "":
        return {}
    merged = {**(current or {}), **(given or {})}
    merged = {key: value for key, value in merged.items() if value != ""}
    _check_metadata(merged, "metadata")
    return merged


@lru_cache
def _declaration(declared: type) -> tuple[dict[str, Any], frozenset[str]]:
    """(name -> annotation, required names) of a TypedDict."""
    annotations = {k: v for k, v in declared.__annotations__.items() if k not in _CLIENT_ONLY}
    # A plain class with the same annotations: for the TypedDict, get_type_hints would also resolve the client's
    # options, whose types cannot be imported at run time.
    probe = type(declared.__name__, (), {"__annotations__": annotations, "__module__": declared.__module__})
    hints = get_type_hints(probe, globalns=vars(sys.modules[declared.__module__]), include_extras=True)
    required = frozenset(getattr(declared, "__required_keys__", ())) - _CLIENT_ONLY
    return hints, required


def _only_expand(wire: Mapping[str, Any]) -> Params:
    for name in wire:
        if name != "expand":
            raise unknown_param(name)
    return {"expand": _values(wire["expand"])} if "expand" in wire else {}


def _record(declared: type, wire: Mapping[str, Any], path: str) -> Params:
    hints, required = _declaration(declared)
    for name in wire:
        if name not in hints:
            raise unknown_param(_join(path, name))
    read_values = {name: _value(hints[name], value, _join(path, name)) for name, value in wire.items()}
    for name in sorted(required):
        if name not in read_values:
            raise missing_param(_join(path, name))
    return read_values


def _value(annotation: Any, value: Any, path: str) -> Any:
    alternatives = _alternatives(annotation)
    if value == "":
        return _empty(alternatives, path)
    if isinstance(value, Mapping | list):
        return _compound(alternatives, value, path)
    found = _scalar(alternatives, value)
    if found is _ABSENT:
        raise _invalid(alternatives, value, path)
    return found


def _alternatives(annotation: Any) -> list[Any]:
    """The members of a union, without Required and NotRequired."""
    origin = get_origin(annotation)
    if origin in (NotRequired, Required):
        return _alternatives(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [member for part in get_args(annotation) for member in _alternatives(part)]
    return [annotation]


def _enum_values(alternatives: list[Any]) -> list[str]:
    return [value for part in alternatives if get_origin(part) is Literal for value in get_args(part)]


def _empty(alternatives: list[Any], path: str) -> str:
    if "" in _enum_values(alternatives):
        return ""
    raise StripeError(
        f"You passed an empty string for '{path}'. We assume empty values are an attempt to unset a parameter; "
        f"however '{path}' cannot be unset. You should remove '{path}' from your request or supply a non-empty value.",
        code="parameter_invalid_empty",
        param=path,
    )


def _compound(alternatives: list[Any], value: Any, path: str) -> Any:
    for part in alternatives:
        origin = get_origin(part)
        if origin is list and (items := _values(value, numeric_keys_only=True)) is not None:
            return [_value(get_args(part)[0], item, f"{path}[{i}]") for i, item in enumerate(items)]
        if isinstance(value, Mapping):
            if is_typeddict(part):
                return _record(part, value, path)
            if origin is dict:
                return _map(get_args(part)[1], value, path)
    raise StripeError(f"Invalid {'object' if isinstance(value, Mapping) else 'array'}", param=path)


def _map(of: Any, value: Mapping[str, Any], path: str) -> Params:
    if of is not str:
        return {key: _value(of, item, _join(path, key)) for key, item in value.items()}
    for key, item in value.items():
        if not isinstance(item, str):
            raise StripeError(f"Invalid string: {item}", param=_join(path, key))
    entries = dict(value)
    if re.search(r"(^|\[)metadata\]?$", path):
        _check_metadata(entries, path)
    return entries


def _check_metadata(entries: Mapping[str, str], path: str) -> None:
    if len(entries) > _METADATA_KEYS:
        raise METADATA_KEYS.error(count=len(entries), param=path)
    for key, value in entries.items():
        if len(key) > _METADATA_KEY:
            raise METADATA_KEY_LENGTH.error(length=len(key), key=key, param=path)
        if len(value) > _METADATA_VALUE:
            raise METADATA_VALUE_LENGTH.error(length=len(value), value=value, param=f"{path}[{key}]")


def _scalar(alternatives: list[Any], value: str) -> Any:
    allowed = _enum_values(alternatives)
    if value in allowed:
        return value
    if bool in alternatives and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if int in alternatives and re.fullmatch(r"-?\d{1,18}", value):
        return int(value)
    if float in alternatives and re.fullmatch(r"-?\d+(\.\d+)?", value):
        return float(value)
    if Decimal in alternatives:
        try:
            return Decimal(value)
        except InvalidOperation:
            return _ABSENT
    # `Literal[...] | str` is an enum that the SDK keeps open for future values; this API version has only these.
    if str in alternatives and not any(allowed):
        return value
    return _ABSENT


def _invalid(alternatives: list[Any], value: str, path: str) -> StripeError:
    if allowed := [value for value in _enum_values(alternatives) if value]:
        listed = allowed[0] if len(allowed) == 1 else f"{', '.join(allowed[:-1])}, or {allowed[-1]}"
        return StripeError(f"Invalid {path}: must be one of {listed}", param=path)
    if int in alternatives:
        return StripeError(f"Invalid integer: {value}", code="parameter_invalid_integer", param=path)
    if bool in alternatives:
        return StripeError(f"Invalid boolean: {value}", param=path)
    if any(get_origin(part) is list for part in alternatives):
        return StripeError("Invalid array", param=path)
    return StripeError("Invalid object", param=path)


def _values(value: Any, *, numeric_keys_only: bool = False) -> Any:
    """The items of a list, which is sent as a hash with numeric keys; None if the keys are names."""
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping) and all(key.isdigit() for key in value):
        return [value[key] for key in sorted(value, key=int)]
    return None if numeric_keys_only else [value]


def _join(path: str, name: str) -> str:
    return f"{path}[{name}]" if path else name
