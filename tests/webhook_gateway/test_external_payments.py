"""Payments that were not started here: the metadata of the systems that this one replaces, and none at all."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from tests.webhook_gateway import stripe_events as stripe

from contracts.envelope import Envelope, Event
from contracts.money import Money, usd
from contracts.people import Contact, purchase_uuid, student_uuid
from webhook_gateway.translate import translate

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def envelopes(type: str, thing: dict[str, Any]) -> list[Envelope[Event]]:
    return translate(stripe.event(type, thing), received_at=NOW)


def translated(type: str, thing: dict[str, Any]) -> Any:  # Any: any event class
    (envelope,) = envelopes(type, thing)
    return envelope.data


def of_intent(**metadata: object) -> Any:
    return translated("payment_intent.succeeded", stripe.intent(metadata=metadata))


ADA, BOB = stripe.STUDENT, "bob-17"


def test_a_student_with_a_program_and_a_funding_source() -> None:
    event = of_intent(student_id=ADA, program_id="prog_1", program_slug="barber", funding_source="WIOA")
    assert (event.student_id, event.program.slug, event.program.id) == (UUID(ADA), "barber", "prog_1")
    assert (event.payer, event.funding_source) == ("sponsor", "WIOA")
    assert event.purchase_id == purchase_uuid("pi_1")


def test_a_user_with_a_course() -> None:
    event = of_intent(userId=BOB, courseId="course_9")
    assert event.student_id == student_uuid(BOB)
    assert (event.program.slug, event.program.id, event.program.id_only) == ("course_9", "course_9", True)
    assert event.purchase_id == purchase_uuid("pi_1")


def test_a_student_with_a_track() -> None:
    event = of_intent(student_id=ADA, track="DP")
    assert (event.program.slug, event.program.id, event.program.id_only) == ("DP", "DP", True)


def test_a_program_alone() -> None:
    event = of_intent(program_id="prog_1")
    assert (event.student_id, event.program.id, event.program.id_only) == (None, "prog_1", True)
    assert event.purchase_id == purchase_uuid("pi_1")


def test_a_student_alone() -> None:
    event = of_intent(student_id=ADA)
    assert (event.student_id, event.program, event.purchase_id) == (UUID(ADA), None, purchase_uuid("pi_1"))


def test_our_names_win_and_then_those_of_the_replaced_systems() -> None:
    every = {"student_id": ADA, "userId": BOB, "program_slug": "s", "program_id": "p", "courseId": "c", "track": "t"}
    assert (of_intent(**every).student_id, of_intent(**every).program.id) == (UUID(ADA), "p")
    every["program_id"] = "undefined"
    assert of_intent(**every).program.id == "c"
    assert of_intent(**every).program.id_only is None
    every |= {"courseId": "", "student_id": "null"}
    assert (of_intent(**every).student_id, of_intent(**every).program.id) == (student_uuid(BOB), "t")


def test_the_client_reference_of_a_session_is_the_student_if_there_is_no_other() -> None:
    alone = stripe.session(metadata={}, client_reference_id=BOB)
    assert translated("checkout.session.completed", alone).student_id == student_uuid(BOB)
    named = stripe.session(metadata={"userId": ADA}, client_reference_id=BOB)
    assert translated("checkout.session.completed", named).student_id == UUID(ADA)
    placeholder = stripe.session(metadata={}, client_reference_id="undefined")
    assert translated("checkout.session.completed", placeholder).student_id is None


def test_the_client_reference_of_our_own_session_is_no_student() -> None:
    purchase_id = stripe.OUR_METADATA["purchase_id"]
    ours = stripe.session(metadata={"purchase_id": purchase_id}, client_reference_id=purchase_id)
    event = translated("checkout.session.completed", ours)
    assert (str(event.purchase_id), event.student_id) == (purchase_id, None)


RECEIVED = [
    ("checkout.session.completed", stripe.session(metadata={"order": "1"})),
    ("checkout.session.async_payment_succeeded", stripe.session(metadata={})),
    ("payment_intent.succeeded", stripe.intent(metadata={}, receipt_email="ann@example.com")),
    ("charge.succeeded", stripe.charge(billing_details={"email": "ann@example.com", "name": "Ann"})),
    ("invoice.paid", stripe.invoice(parent=None)),
    ("invoice.overpaid", stripe.invoice(parent=None, amount_overpaid=1)),
]


@pytest.mark.parametrize(("type", "thing"), RECEIVED, ids=[type for type, _ in RECEIVED])
def test_money_that_names_nobody_and_nothing_is_published(type: str, thing: dict[str, Any]) -> None:
    event = translated(type, thing)
    assert (event.purchase_id, event.student_id, event.program, event.price) == (None, None, None, None)
    assert event.amount.amount > 0
    assert event.refs.of_payment()
    assert event.contact.email == "ann@example.com"


@pytest.mark.parametrize("placeholder", ["undefined", "null", "None", "NaN", "[object Object]", "", "  ", "\u200b"])
def test_placeholders_name_nobody_and_nothing(placeholder: str) -> None:
    """Otherwise everyone whose id a front end lost would be the same student."""
    event = of_intent(**dict.fromkeys((*stripe.SEED_METADATA, "userId", "courseId", "track"), placeholder))
    assert (event.purchase_id, event.student_id, event.program) == (None, None, None)


NOT_RECEIVED = [
    ("checkout.session.completed", stripe.session(metadata={}, payment_status="unpaid")),
    ("checkout.session.completed", stripe.session(metadata={}, amount_total=0, payment_status="no_payment_required")),
    ("checkout.session.async_payment_failed", stripe.session(metadata={})),
    ("checkout.session.expired", stripe.session(metadata={})),
    ("payment_intent.payment_failed", stripe.intent(metadata={})),
    ("payment_intent.processing", stripe.intent(metadata={})),
    ("payment_intent.canceled", stripe.intent(metadata={})),
    ("payment_intent.requires_action", stripe.intent(metadata={})),
    ("invoice.paid", stripe.invoice(parent=None, amount_paid=0)),
    ("invoice.payment_failed", stripe.invoice(parent=None)),
    ("invoice.payment_action_required", stripe.invoice(parent=None)),
    ("invoice.finalization_failed", stripe.invoice(parent=None)),
    ("invoice.marked_uncollectible", stripe.invoice(parent=None)),
    ("invoice.voided", stripe.invoice(parent=None)),
    ("customer.subscription.updated", stripe.subscription(metadata={})),
]


@pytest.mark.parametrize(("type", "thing"), NOT_RECEIVED)
def test_everything_else_that_happens_to_a_stranger_is_ignored(type: str, thing: dict[str, Any]) -> None:
    assert envelopes(type, thing) == []


def test_an_invoice_of_a_stranger_paid_by_a_credit_is_published() -> None:
    thing = stripe.invoice(parent=None, amount_paid=0, starting_balance=-500, ending_balance=0)
    assert translated("invoice.paid", thing).credit == usd(500)


def test_the_contact_of_a_charge() -> None:
    thing = stripe.charge(billing_details={"email": "ann@example.com", "name": "Ann"})
    assert translated("charge.succeeded", thing).contact == Contact(email="ann@example.com", name="Ann")


@pytest.mark.parametrize(
    ("metadata", "price", "due"),
    [
        ({"price": "489000"}, usd(489_000), None),
        ({"price": "489000", "price_currency": "undefined"}, usd(489_000), None),
        ({"price": "489000", "due": "97800"}, usd(489_000), usd(97_800)),
        (
            {"price": "700", "due": "70", "price_currency": "jpy"},
            Money(amount=700, currency="jpy"),
            Money(amount=70, currency="jpy"),
        ),
        ({"due": "0"}, None, None),
        ({"due": "978.00"}, None, None),
    ],
)
def test_a_price_without_a_currency_is_in_the_objects_own(
    metadata: dict[str, str], price: Money | None, due: Money | None
) -> None:
    event = of_intent(**stripe.SEED_METADATA, **metadata)
    assert (event.price, event.due) == (price, due)


@pytest.mark.parametrize(
    ("value", "untaught"), [("true", True), ("false", None), ("1", None), (True, None), (None, None)]
)
def test_an_item_that_nobody_teaches(value: object, untaught: bool | None) -> None:
    part = '{"slug":"kit","id":"k","untaught":true}'
    program = of_intent(**stripe.OUR_METADATA, program_untaught=value, includes_1=part).program
    assert program.untaught is untaught
    assert program.parts[0].untaught is True


def test_merchandise_gives_no_enrollment() -> None:
    program = of_intent(**stripe.OUR_METADATA, program_kind="merchandise").program
    assert (program.kind, program.enrolls) == ("merchandise", False)
