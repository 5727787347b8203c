"""Personal data of events: every field with free text is listed, and what is left of an event says the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin
from uuid import uuid4

import pytest
from hypothesis import given
from pydantic import BaseModel, ValidationError
from tests.deliveries import envelope
from tests.ledger.payment_histories import histories

from contracts import personal_data
from contracts.audit import Act
from contracts.checkout import PurchaseCreated, StudentUpdated
from contracts.envelope import Event
from contracts.erasure import StudentErasureRequested
from contracts.money import usd
from contracts.payments import PaymentEvent, PaymentRefs, PurchaseEnded
from contracts.people import Contact, Program
from contracts.personal_data import PERSONAL, PERSONAL_OF, REASONS
from contracts.registry import EVENT_TYPES
from ledger.verdict import verdicts

WHO = Contact(email="ann.vanish@example.com", name="Ann Vanish")

TECHNICAL = {
    "act.action", "act.after", "act.before", "act.object_id", "act.object_type", "act.references", "actor.id",
    "actor.role", "address", "brand", "category", "code", "currency", "customer", "field", "filename", "fraud_type",
    "funding_source", "id", "installment", "instructor.avatar", "instructor.name", "instructor.specialty", "item.name",
    "mandate", "method", "milady_enrollment_id", "name of an item", "number", "object", "object_id", "object_kind",
    "payment_method", "product_id", "product_name", "program_slug", "projects", "promotion_code", "provider",
    "published", "reason of a state", "refs", "refund_id", "dispute_id", "slug", "stripe", "template", "tier",
    "trace_id", "type", "wallet", "identifiers", "rows", "subscription", "event_ids",
}  # fmt: skip
"""Text that names no student: ids, codes, names of items and of staff's roles."""


def texts(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all fields that may contain text."""
    for name, field in model.model_fields.items():
        yield from _texts(field.annotation, (*path, name))


def _texts(annotation: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from texts(annotation, path)
    elif annotation is str:
        yield path
    elif get_origin(annotation) is not Literal:
        for inner in get_args(annotation):
            yield from _texts(inner, path)


def kind(type_: str, path: tuple[str, ...]) -> str:
    """How the list above calls the field."""
    last = path[-1]
    if path[0] in ("refs", "projects"):
        return path[0]
    if last in ("id", "slug", "name", "provider") and path[0] in ("program", "item"):
        return "name of an item" if last == "name" else last
    if last == "reason" and type_ not in REASONS:
        return "reason of a state"
    if last in ("currency", "type", "brand", "wallet"):
        return last
    return ".".join(path)


@pytest.mark.parametrize("event", EVENT_TYPES.values(), ids=lambda event: event.type)
def test_every_text_of_an_event_is_personal_data_or_technical(event: type[Event]) -> None:
    """A new field with text is added to one of the lists."""
    dropped = PERSONAL | PERSONAL_OF.get(event.type, frozenset()) | REASONS.get(event.type, frozenset())
    left = {kind(event.type, path) for path in texts(event) if dropped.isdisjoint(path)}
    assert left <= TECHNICAL, left - TECHNICAL


@given(histories())
def test_what_payments_mean_does_not_depend_on_personal_data(facts: dict[str, PaymentEvent]) -> None:
    named = {id: event.model_copy(update={"contact": WHO}) for id, event in facts.items()}
    erased: dict[str, PaymentEvent] = {}
    for id, event in named.items():
        left = personal_data.without(envelope(id, event))
        assert left is not None and "Vanish" not in left.received.decode()
        assert isinstance(left.data, PaymentEvent)
        erased[id] = left.data
    before, after = verdicts(named), verdicts(erased)
    assert {pair: (each.standing, each.reason) for pair, each in before.items()} == {
        pair: (each.standing, each.reason) for pair, each in after.items()
    }


def test_an_event_that_consists_of_personal_data_is_dropped() -> None:
    event = StudentUpdated(student_id=uuid4(), contact=WHO)
    assert personal_data.without(envelope("e", event)) is None
    stored = personal_data.erased(event.type, json.loads(event.model_dump_json()))
    assert StudentUpdated.model_validate(stored).contact == Contact(email="")


def test_fields_that_an_event_must_have_are_empty() -> None:
    ended = PurchaseEnded(refs=PaymentRefs(), by="school", reason="Ann Vanish moved away")
    created = PurchaseCreated(
        purchase_id=uuid4(),
        student_id=uuid4(),
        program=Program(slug="cpr", id="cpr"),
        amount=usd(575),
        payer="sponsor",
        payment_type="full",
        checkout_url="https://school.example/pay/secret",
        payer_contact=WHO,
    )
    for event in (ended, created):
        left = personal_data.without(envelope("e", event))
        assert left is not None and type(left.data) is type(event)
        assert b"Vanish" not in left.received and b"secret" not in left.received


def test_fields_that_only_a_later_version_has_stay_if_they_are_not_personal() -> None:
    event = envelope("e", PurchaseEnded(refs=PaymentRefs(), by="school", reason="x"))
    received = {**json.loads(event.body()), "later": 1, "email": WHO.email}
    left = personal_data.without(replace(event, received=json.dumps(received).encode()))
    assert left is not None
    assert json.loads(left.received)["later"] == 1 and "email" not in json.loads(left.received)


def test_identifiers_are_uuids_and_ids_of_stripes_form() -> None:
    id = uuid4()
    refs = {"payment_intent": "pi_3Abc", "customer": "cus_RtYhgVbnMKliop"}  # one of fifty has no digit
    body = {"student_id": str(id).upper(), "refs": refs, "name": "Ann", "reason": "no_item x"}
    assert personal_data.identifiers(json.dumps(body).encode()) == {str(id), *refs.values()}


@pytest.mark.parametrize(
    "text", ["", "a", "%", "paid", "payment_intent", "pi_1", "pi_3Abcd\n", "3F0C8A62-64F5-4D3F-8F6A-0F0F5A3B1C11"]
)
def test_an_erasure_names_only_identifiers(text: str) -> None:
    """Messages are searched for them: one of another form would erase other people."""
    good = (str(uuid4()), "pi_3Abcd", "cs_test_a1b2")
    assert StudentErasureRequested(student_id=uuid4(), identifiers=good).identifiers == good
    with pytest.raises(ValidationError):
        StudentErasureRequested(student_id=uuid4(), identifiers=(*good, text))


def test_an_act_has_no_link_that_pays() -> None:
    """The audit trail keeps it forever."""
    before, after = ({"pay_url": f"https://pay.example/{status}", "status": status} for status in ("open", "paused"))
    act = Act.of("installment.paused", "installment", 1, before=before, after=after)
    assert (act.before, act.after) == ({"status": "open"}, {"status": "paused"})
