"""Redaction: what a Stripe event says of money stays, and nothing that it says of a person."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.webhook_gateway import stripe_events as stripe
from tests.webhook_gateway.test_translate import EXPECTED, NOW

from contracts import personal_data
from contracts.people import student_uuid
from webhook_gateway.redaction import redacted, students
from webhook_gateway.translate import translate

NEEDLE = "Ann Vanish"
PERSON = {
    "name": NEEDLE,
    "email": "vanish@example.com",
    "phone": "+1 555 Vanish",
    "address": {"line1": "Vanish Lane 7", "city": "Vanish", "postal_code": "vanish1"},
}
FIELDS = (
    "billing_details", "customer_details", "shipping", "customer_email", "customer_name", "receipt_email",
    "description", "customer_phone", "statement_descriptor", "receipt_url", "x_later", "name", "individual_name",
)  # fmt: skip


def with_person(value: Any) -> Any:
    """The person in every object, in fields that Stripe has, and in one that it may add."""
    if isinstance(value, list):
        return [with_person(each) for each in value]
    if not isinstance(value, dict):
        return value
    own = {name: with_person(inner) for name, inner in value.items()}
    return {**own, **{name: PERSON if "details" in name or name == "shipping" else NEEDLE for name in FIELDS}}


@pytest.mark.parametrize(("type", "thing"), [(type, thing) for type, thing, _ in EXPECTED])
def test_the_same_is_published_but_for_personal_data(type: str, thing: dict[str, Any]) -> None:
    event = stripe.event(type, thing, id="evt_1")
    (before,) = translate(event, received_at=NOW)
    (after,) = translate(redacted(event), received_at=NOW)
    assert (after.id, after.subject, after.time) == (before.id, before.subject, before.time)
    kept = personal_data.erased(before.type, json.loads(before.body()))
    assert json.loads(after.body()) == kept


@pytest.mark.parametrize(("type", "thing"), [(type, thing) for type, thing, _ in EXPECTED])
def test_no_field_keeps_a_person(type: str, thing: dict[str, Any]) -> None:
    metadata = {**thing.get("metadata", {}), "note": NEEDLE, "customer_name": NEEDLE}
    event = stripe.event(type, {**with_person(thing), "metadata": metadata}, previous_attributes=PERSON)
    assert "vanish" not in json.dumps(redacted(event)).lower()


def test_ids_without_a_digit_stay() -> None:
    charge = {"id": "ch_UexOliOrRYDDYAQNbqSeJbmN", "customer": "cus_ABCdefGHIjklMN", "payment_intent": "pi_jane_doe"}
    kept = redacted({"data": {"object": charge}})["data"]["object"]
    assert kept == {**charge, "payment_intent": None}


def test_a_student_whom_another_system_names_by_an_address_is_named_by_the_uuid_that_stands_for_it() -> None:
    metadata = {"userId": "vanish@example.com", "courseId": "c_1"}
    event = stripe.event("payment_intent.succeeded", stripe.intent(metadata=metadata), id="evt_1")
    kept = redacted(event)
    assert "vanish" not in json.dumps(kept)
    assert students(event) == students(kept) == {str(student_uuid("vanish@example.com"))}
    assert [each.data for each in translate(kept, received_at=NOW)] == [
        each.data for each in translate(event, received_at=NOW)
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=10), JSON, max_size=6))
def test_any_object_can_be_redacted_and_again(event: dict[str, Any]) -> None:
    assert redacted(redacted(event)) == redacted(event)
