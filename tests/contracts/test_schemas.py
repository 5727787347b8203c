"""The golden schemas: what is on the bus today, and what may follow it."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from tests.ledger.payment_histories import histories

import contracts
from contracts.compatibility import breaks
from contracts.envelope import Event
from contracts.payments import PaymentSucceeded
from contracts.registry import EVENT_TYPES

SCHEMAS = Path(contracts.__file__).parent / "schemas"


def golden(type: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / f"{type}.json").read_text())
    return found


@functools.cache
def validator(type: str) -> Draft202012Validator:
    """Checking the schema itself and indexing it takes longer than validating an event: once per type."""
    schema = golden(type)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_every_event_has_its_schema_and_no_schema_is_left_over() -> None:
    assert {path.stem for path in SCHEMAS.glob("*.json")} == set(EVENT_TYPES)


@pytest.mark.parametrize("event", EVENT_TYPES.values(), ids=lambda event: event.type)
def test_the_schema_is_the_code(event: type[Event]) -> None:
    """After a change that may be made: `make docs`."""
    assert golden(event.type) == event.model_json_schema()


@given(histories())
def test_what_we_write_is_valid_for_readers_of_the_golden_schema(facts: dict[str, Any]) -> None:
    for event in facts.values():
        validator(event.type).validate(json.loads(event.model_dump_json(exclude_none=True)))


@given(histories(), st.dictionaries(st.text(min_size=1, max_size=8).map("x_{}".format), st.integers(), max_size=3))
def test_a_reader_ignores_what_it_does_not_know(facts: dict[str, Any], unknown: dict[str, int]) -> None:
    for event in facts.values():
        later = {**json.loads(event.model_dump_json(exclude_none=True)), **unknown}
        assert type(event).model_validate(later) == event


MAY: dict[str, Callable[[dict[str, Any]], Any]] = {
    "nothing": lambda schema: None,
    "another description": lambda schema: schema["properties"]["method"].update(description="changed"),
    "a new optional field": lambda schema: schema["properties"].update(note={"type": "string"}),
}
MAY_NOT: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a new required field": lambda schema: schema["required"].append("method"),
    "a required field made optional": lambda schema: schema["required"].remove("amount"),
    "a field removed": lambda schema: schema["properties"].pop("funding_source"),
    "another type": lambda schema: schema["$defs"]["Money"]["properties"]["amount"].update(type="number"),
    "another pattern": lambda schema: schema["$defs"]["Money"]["properties"]["currency"].update(pattern="^[A-Z]{3}$"),
    "a value more": lambda schema: schema["properties"]["payer"]["anyOf"][0]["enum"].append("employer"),
    "a value less": lambda schema: schema["properties"]["payer"]["anyOf"][0]["enum"].pop(),
    "no longer optional": lambda schema: schema["properties"]["method"]["anyOf"].pop(),
}


def changed(change: Callable[[dict[str, Any]], Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    old = golden(PaymentSucceeded.type)
    new = copy.deepcopy(old)
    change(new)
    return old, new


@pytest.mark.parametrize("name", MAY)
def test_what_may_follow(name: str) -> None:
    assert breaks(*changed(MAY[name])) == []


@pytest.mark.parametrize("name", MAY_NOT)
def test_what_needs_a_new_version(name: str) -> None:
    old, new = changed(MAY_NOT[name])
    assert breaks(old, new)
