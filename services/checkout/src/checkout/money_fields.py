"""Which fields of requests and answers are money, and in which unit, read from an OpenAPI document.

The unit follows from the name alone (see units.py), so a front end needs to learn one rule. `describe` adds it to the
API's own document, and `make docs` makes docs/money-fields.md of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from checkout.units import is_major

Unit = Literal["major", "minor"]
Document = dict[str, Any]  # JSON

_MINOR = frozenset(
    (
        "amount",
        "amount_off",
        "average",
        "co_pay",
        "credit_deducted",
        "decided_amount",
        "discount",
        "due",
        "gross",
        "lost",
        "max",
        "min",
        "most",
        "net",
        "open",
        "paid",
        "refunded",
        "saving",
        "shortfall",
        "subtotal",
        "tax",
        "total",
        "withdrawn",
    )
)
_DESCRIPTIONS: Mapping[Unit, str] = {"major": "major units", "minor": "minor units"}
_REFERENCE = "#/components/schemas/"


@dataclass(frozen=True, kw_only=True, order=True)
class MoneyField:
    """`path`: where it is in the body: `items[].price`."""

    route: str
    direction: Literal["request", "answer"]
    path: str
    unit: Unit


def unit_of(field: str, schema: Mapping[str, Any]) -> Unit | None:
    """None: no money. (A name such as `open` is money only where it is a number.)"""
    if is_major(field):
        return "major"
    return "minor" if field in _MINOR and "integer" in types(schema) else None


def types(schema: Mapping[str, Any]) -> frozenset[str]:
    """The JSON types of a value, null aside."""
    stated = schema.get("type", [])
    found = {stated} if isinstance(stated, str) else set[str](stated)
    for alternative in schema.get("anyOf", ()):
        found |= types(alternative)
    return frozenset(found - {"null"})


def describe(document: Document) -> Document:
    """The document, in which the description of each amount of money says its unit."""
    for schema in document.get("components", {}).get("schemas", {}).values():
        for name, field in schema.get("properties", {}).items():
            unit = unit_of(name, field)
            description = str(field.get("description", ""))
            if unit is not None and _DESCRIPTIONS[unit] not in description:
                field["description"] = "; ".join(filter(None, (description, _DESCRIPTIONS[unit])))
    return document


def money_fields(document: Document) -> list[MoneyField]:
    """Those of every route, sorted."""
    found: set[MoneyField] = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            route = f"{method.upper()} {path}"
            bodies = [("request", operation.get("requestBody", {}))]
            bodies += [("answer", answer) for code, answer in operation["responses"].items() if code.startswith("2")]
            for direction, body in bodies:
                schema = body.get("content", {}).get("application/json", {}).get("schema", {})
                for at, unit in _walk(document, schema, "", ()):
                    found.add(MoneyField(route=route, direction=direction, path=at, unit=unit))  # type: ignore[arg-type]
    return sorted(found)


def _walk(document: Document, schema: Document, at: str, inside: tuple[str, ...]) -> Iterator[tuple[str, Unit]]:
    if (reference := str(schema.get("$ref", ""))).startswith(_REFERENCE):
        name = reference.removeprefix(_REFERENCE)
        if name not in inside:
            yield from _walk(document, document["components"]["schemas"][name], at, (*inside, name))
        return
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _walk(document, part, at, inside)
    if "items" in schema:
        yield from _walk(document, schema["items"], f"{at}[]", inside)
    for name, field in schema.get("properties", {}).items():
        path = f"{at}.{name}".lstrip(".")
        if (unit := unit_of(name, field)) is not None:
            yield path, unit
        yield from _walk(document, field, path, inside)
