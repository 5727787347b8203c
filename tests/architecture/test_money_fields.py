"""Every number in an API is money in a known unit, or no money. Prices are major units, amounts are minor units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import checkout.main
from checkout.exact_json import ExactJson
from checkout.money_fields import describe, money_fields, types, unit_of
from devstack.documents import applications

NO_MONEY = {
    "active",
    "attempts",
    "average_microseconds",
    "breaks",
    "broken",
    "cache_hit_ratio",
    "calls",
    "capacity",
    "compared",
    "completed",
    "conflicts",
    "connections",
    "count",
    "dead_rows",
    "deadlocks",
    "delivered",
    "delivery_rate",
    "denominator",
    "deposit_percent",
    "duplicates",
    "enrolled",
    "events",
    "exp_month",
    "exp_year",
    "fetched",
    "guest_holds",
    "hidden_sessions",
    "installments",
    "interval_days",
    "listed",
    "live_rows",
    "longest_question",
    "max_connections",
    "messages",
    "most_per_student",
    "most_uses",
    "numerator",
    "oldest_snapshot",
    "oldest_transaction_seconds",
    "paid_later",
    "paused",
    "payments",
    "percent",
    "percent_off",
    "position",
    "product_id",
    "purchases",
    "questions_left",
    "records",
    "refused",
    "repaired",
    "replicas",
    "restored",
    "retried",
    "revision",
    "seconds",
    "server_connections",
    "size_bytes",
    "status",
    "students",
    "target",
    "tokens",
    "total_milliseconds",
    "uses",
    "value",
    "withdrawals",
}
IN_A_REQUEST = {"major": {"number", "string"}, "minor": {"integer"}}
IN_AN_ANSWER = {"major": {"number"}, "minor": {"integer"}}
SERVICES = sorted(applications())


def schemas(service: str) -> dict[str, Any]:
    found: dict[str, Any] = applications()[service].openapi()["components"]["schemas"]
    return found


def properties(service: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Schema, field and the field's own schema."""
    for name, schema in schemas(service).items():
        for field, of_field in schema.get("properties", {}).items():
            yield name, field, of_field


@pytest.mark.parametrize("service", SERVICES)
def test_every_number_is_money_or_none(service: str) -> None:
    unknown = {
        f"{name}.{field}"
        for name, field, schema in properties(service)
        if types(schema) & {"integer", "number"} and unit_of(field, schema) is None and field not in NO_MONEY
    }
    assert not unknown, "name it like the fields of docs/money-fields.md, or add it to NO_MONEY"


@pytest.mark.parametrize("service", SERVICES)
def test_a_name_has_one_unit_and_type(service: str) -> None:
    """A price is a number (in a request, also a string) and never minor units; an amount is an integer."""
    for name, field, schema in properties(service):
        if (unit := unit_of(field, schema)) is None:
            assert field != "amount" or not types(schema) & {"number", "string"}, f"{name}.{field}"
            continue
        assert types(schema) in (IN_A_REQUEST[unit], IN_AN_ANSWER[unit]), f"{name}.{field}: {sorted(types(schema))}"
        assert f"{unit} units" in schema["description"], f"{name}.{field}"


def _with_currency(document: dict[str, Any], schema: dict[str, Any], above: bool, inside: tuple[str, ...]) -> set[str]:
    """The schemas that contain an amount without a currency beside or above it."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        if name in inside:
            return set()
        return _with_currency(document, document["components"]["schemas"][name], above, (*inside, name))
    found: set[str] = set()
    fields = schema.get("properties", {})
    above = above or any("currency" in field for field in fields)
    if not above and any(unit_of(field, of_field) for field, of_field in fields.items()):
        found.add(inside[-1])
    for part in (*fields.values(), *schema.get("anyOf", ()), *filter(None, (schema.get("items"),))):
        found |= _with_currency(document, part, above, inside)
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_an_answers_amounts_have_a_currency(service: str) -> None:
    document = applications()[service].openapi()
    found: set[str] = set()
    for operations in document["paths"].values():
        for operation in operations.values():
            for code, answer in operation["responses"].items():
                schema = answer.get("content", {}).get("application/json", {}).get("schema")
                if code.startswith("2") and schema:
                    found |= _with_currency(document, schema, False, ())
    assert not found


def test_routes_with_prices_are_exact() -> None:
    """Another route would read a price as a float, and return it as a string."""
    prices = {field.route for field in money_fields(applications()["checkout"].openapi()) if field.unit == "major"}
    exact = {
        f"{method} {route.path}"
        for router in checkout.main.ROUTERS
        for route in router.routes
        if isinstance(route, ExactJson)
        for method in route.methods or ()
    }
    assert prices and not prices - exact


@pytest.mark.parametrize(
    ("field", "schema", "unit"),
    [
        ("price", {"type": "number"}, "major"),
        ("list_price", {"type": "integer"}, "major"),
        ("total_cost", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, "major"),
        ("refund_amount", {"type": "integer"}, "major"),
        ("amount", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, "minor"),
        ("open", {"type": "boolean"}, None),
        ("uses", {"type": "integer"}, None),
    ],
)
def test_units_follow_from_names(field: str, schema: dict[str, Any], unit: str | None) -> None:
    assert unit_of(field, schema) == unit


def test_fields_are_found_in_depth() -> None:
    document: dict[str, Any] = {
        "paths": {
            "/x": {
                "post": {
                    "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}},
                    "responses": {"200": {}, "default": {}},
                }
            }
        },
        "components": {
            "schemas": {
                "A": {
                    "properties": {
                        "price": {"type": "number", "description": "of it"},
                        "parts": {"type": "array", "items": {"$ref": "#/components/schemas/A"}},
                        "due": {"anyOf": [{"properties": {"amount": {"type": "integer"}}}, {"type": "null"}]},
                    }
                }
            }
        },
    }
    assert [(field.path, field.unit) for field in money_fields(document)] == [
        ("due.amount", "minor"),
        ("price", "major"),
    ]
    described = describe(document)["components"]["schemas"]["A"]["properties"]
    assert described["price"]["description"] == "of it; major units"
