"""What the gateway reads beside the payment: kind, bundle parts, installment, price, tax, tier, dispute funds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.webhook_gateway import stripe_events as stripe

from contracts.envelope import parse
from contracts.money import Money, usd
from contracts.people import ItemKind, Program
from contracts.registry import EVENT_TYPES
from webhook_gateway.translate import translate

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def translated(type: str, thing: dict[str, Any], **fields: Any) -> Any:  # Any: any event class
    (envelope,) = translate({**stripe.event(type, thing), **fields}, received_at=NOW)
    return envelope.data


def program_of(**metadata: object) -> Program:
    """The program of a payment with this metadata beside the usual."""
    thing = stripe.intent(metadata={**stripe.OUR_METADATA, **metadata})
    program: Program = translated("payment_intent.succeeded", thing).program
    return program


def part_json(**fields: object) -> str:
    return json.dumps({"slug": "a", "id": "1", **fields}, separators=(",", ":"))


def test_a_bundle_has_its_parts() -> None:
    program = translated("payment_intent.succeeded", stripe.intent(metadata=stripe.BUNDLE_METADATA)).program
    assert program.kind == "bundle"
    assert [(part.slug, part.id, part.provider, part.kind) for part in program.parts] == [
        ("barber-apprenticeship", "prog_1", "milady", "program"),
        ("tool-kit", "prod_7", None, "product"),
    ]
    assert program.parts[1].title == "Tool kit"


@pytest.mark.parametrize(
    ("value", "kind"),
    [(kind, kind) for kind in get_args(ItemKind)]
    + [("castle", None), ("", None), ("Program", None), (None, None), (7, None), (["program"], None)],
)
def test_only_kinds_of_the_catalog_are_accepted(value: object, kind: str | None) -> None:
    assert program_of(program_kind=value).kind == kind
    (part,) = program_of(includes_1=part_json(kind=value)).parts
    assert part.kind == kind


@pytest.mark.parametrize(
    "invalid",
    [
        "",
        "{",
        "null",
        "[]",
        '"a"',
        "[" * 500,
        "9" * 500,
        part_json(slug=""),
        part_json(slug=None),
        part_json(id=7),
        json.dumps({"slug": "x"}),
        part_json(name="x" * 500),
        7,
        None,
        {"slug": "x", "id": "1"},
    ],
    ids=str,
)
def test_an_invalid_part_is_skipped(invalid: object) -> None:
    program = program_of(includes_1=part_json(slug="first"), includes_2=invalid, includes_3=part_json(slug="third"))
    assert [part.slug for part in program.parts] == ["first", "third"]


def test_parts_are_in_numeric_order_and_unique_and_at_most_twenty() -> None:
    metadata = {f"includes_{n}": part_json(slug=f"s{n}") for n in (20, 10, 9, 2, 1, 0, 21, "x", "01")}
    assert [part.slug for part in program_of(**metadata).parts] == ["s1", "s2", "s9", "s10", "s20"]
    assert len(program_of(includes_1=part_json(), includes_2=part_json(name="again")).parts) == 1


@pytest.mark.parametrize(
    ("type", "thing"),
    [
        ("payment_intent.succeeded", stripe.intent(metadata=stripe.BUNDLE_METADATA)),
        ("payment_intent.payment_failed", stripe.intent(metadata=stripe.BUNDLE_METADATA)),
        ("payment_intent.canceled", stripe.intent(metadata=stripe.BUNDLE_METADATA)),
        ("checkout.session.completed", stripe.session(metadata=stripe.BUNDLE_METADATA)),
        ("checkout.session.expired", stripe.session(metadata=stripe.BUNDLE_METADATA)),
        ("invoice.paid", stripe.invoice(metadata=stripe.BUNDLE_METADATA, parent=None)),
        ("invoice.payment_failed", stripe.invoice(metadata=stripe.BUNDLE_METADATA)),
        (
            "invoice.paid",
            stripe.invoice(parent=None, subscription_details={"metadata": stripe.BUNDLE_METADATA}),
        ),
    ],
)
def test_every_payment_event_has_the_installment_and_the_price(type: str, thing: dict[str, Any]) -> None:
    event = translated(type, thing)
    assert event.refs.installment == "due_1"
    assert "due_1" not in event.refs.of_payment()
    assert event.price == usd(489_000)


def test_absent_metadata_is_none() -> None:
    event = translated("payment_intent.succeeded", stripe.intent())
    assert (event.refs.installment, event.price, event.program.kind, event.program.includes) == (None, None, None, ())


@pytest.mark.parametrize(
    ("amount", "currency", "price"),
    [
        ("489000", "usd", usd(489_000)),
        ("700", "JPY", Money(amount=700, currency="jpy")),
        ("0", "usd", usd(0)),
        (str(10**12), "usd", usd(10**12)),
        (str(10**12 + 1), "usd", None),
        ("0" * 13 + "1", "usd", None),
        ("9" * 5000, "usd", None),
        ("4890.00", "usd", None),
        ("-1", "usd", None),
        ("٣", "usd", None),
        ("²", "usd", None),
        ("", "usd", None),
        (489_000, "usd", None),
        ("489000", "us", None),
        ("489000", "u$d", None),
        ("489000", None, usd(489_000)),
        (None, "usd", None),
    ],
)
def test_a_price_needs_digits(amount: object, currency: object, price: Money | None) -> None:
    metadata = {**stripe.OUR_METADATA, "price": amount, "price_currency": currency}
    assert translated("payment_intent.succeeded", stripe.intent(metadata=metadata)).price == price


@pytest.mark.parametrize(
    ("count", "installments"),
    [("4", 4), ("120", 120), ("121", None), ("1", None), ("0", None), ("000012345", None), ("x", None)],
)
def test_an_invalid_installment_count_is_none(count: str, installments: int | None) -> None:
    metadata = {**stripe.OUR_METADATA, "installments": count}
    assert translated("payment_intent.succeeded", stripe.intent(metadata=metadata)).installments == installments


@pytest.mark.parametrize("type", ["checkout.session.completed", "checkout.session.async_payment_succeeded"])
@pytest.mark.parametrize(
    ("details", "tax"),
    [
        ({"amount_tax": 4_200}, usd(4_200)),
        ({"amount_tax": 0}, None),
        ({"amount_tax": "4200"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_tax_of_a_session(type: str, details: object, tax: Money | None) -> None:
    assert translated(type, stripe.session(total_details=details)).tax == tax


@pytest.mark.parametrize(
    ("fields", "tax"),
    [
        ({"total_taxes": [{"amount": 700}, {"amount": 55}]}, usd(755)),
        ({"total_taxes": [{"amount": 700}, {"amount": "x"}, None, 7]}, usd(700)),
        ({"total_taxes": [], "tax": 90}, usd(90)),
        ({"total_taxes": None, "tax": 90}, usd(90)),
        ({"total_taxes": [{"amount": 700}], "tax": 90}, usd(700)),
        ({"total_taxes": [{"amount": 0}], "tax": None}, None),
        ({"total_taxes": [{"amount": 700}], "amount_paid": 0}, None),  # paid from a credit balance
        ({"total_taxes": [{"amount": 10**12}] * 9}, usd(122_250)),
        ({}, None),
    ],
)
def test_the_tax_of_an_invoice(fields: dict[str, Any], tax: Money | None) -> None:
    assert translated("invoice.paid", stripe.invoice(**fields)).tax == tax


@pytest.mark.parametrize(
    ("type", "funds"),
    [
        ("charge.dispute.funds_withdrawn", "withdrawn"),
        ("charge.dispute.funds_reinstated", "reinstated"),
        ("charge.dispute.created", None),
        ("charge.dispute.updated", None),
        ("charge.dispute.closed", None),
    ],
)
@pytest.mark.parametrize(
    ("status", "event_type"),
    [("needs_response", "payment.dispute_opened.v1"), ("lost", "payment.dispute_closed.v1")],
)
def test_a_dispute_has_the_movement_of_funds(type: str, funds: str | None, status: str, event_type: str) -> None:
    event = translated(type, stripe.dispute(status=status))
    assert (event.type, event.status, event.funds) == (event_type, status, funds)


def test_a_membership_has_its_tier_its_pause_and_their_time() -> None:
    paused = {"behavior": "void", "resumes_at": None}
    thing = stripe.subscription(metadata=stripe.BUNDLE_METADATA, pause_collection=paused)
    event = translated("customer.subscription.updated", thing)
    assert (event.tier, event.collection_paused) == ("gold", True)
    assert event.as_of == datetime.fromtimestamp(1_790_000_000, UTC)


@pytest.mark.parametrize("pause", [None, False, True, "void", 7, []])
def test_only_an_object_is_a_pause(pause: object) -> None:
    assert (
        translated("customer.subscription.updated", stripe.subscription(pause_collection=pause)).collection_paused
        is False
    )


PLACEHOLDERS = [
    "undefined",
    "null",
    "None",
    "NaN",
    "[object Object]",
    "",
    "  ",
    "\u200b",
    " undefined\n",
    "Undefined",
    "NULL",
]


@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_a_placeholder_in_our_own_metadata_is_no_value(placeholder: str) -> None:
    metadata = {name: placeholder for name in stripe.BUNDLE_METADATA} | {"funding_source": placeholder}
    metadata["purchase_id"] = stripe.OUR_METADATA["purchase_id"]
    metadata["includes_1"] = part_json(slug=placeholder)
    event = translated("payment_intent.succeeded", stripe.intent(metadata=metadata))
    assert (event.student_id, event.program, event.payer, event.funding_source) == (None, None, None, None)
    assert (event.installments, event.price, event.refs.installment) == (None, None, None)
    membership = translated("customer.subscription.updated", stripe.subscription(metadata=metadata))
    assert membership.tier is None


@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_a_placeholder_among_the_fields_of_a_program_is_no_value(placeholder: str) -> None:
    fields = {"program_name": placeholder, "provider": placeholder, "program_kind": placeholder}
    program = program_of(**fields, includes_1=part_json(name=placeholder, provider=placeholder, kind=placeholder))
    part = program.includes[0]
    assert (program.name, program.provider, program.kind) == (None, None, None)
    assert (part.name, part.provider, part.kind) == (None, None, None)
    assert program_of(includes_1=part_json(slug=placeholder), includes_2=part_json(id=placeholder)).includes == ()


@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_a_program_without_a_real_slug_or_id_takes_the_other_for_both(placeholder: str) -> None:
    """`slug == id` tells consumers that only one of them was sent."""
    only_id, only_slug = program_of(program_slug=placeholder), program_of(program_id=placeholder)
    assert (only_id.slug, only_id.id) == ("prog_1", "prog_1")
    assert (only_slug.slug, only_slug.id) == ("barber-apprenticeship", "barber-apprenticeship")


@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
def test_a_placeholder_of_a_subscription_does_not_hide_the_invoices_own_value(placeholder: str) -> None:
    details = {"subscription": "sub_1", "metadata": {**stripe.SEED_METADATA, "student_id": placeholder}}
    invoice = stripe.invoice(metadata=stripe.SEED_METADATA, parent={"subscription_details": details})
    assert translated("invoice.paid", invoice).student_id == UUID(stripe.STUDENT)


@pytest.mark.parametrize("name", ["null-pointers-101", "undefinedness", "Nan Goldin", "Noneteria"])
def test_a_name_that_only_contains_a_placeholder_is_a_name(name: str) -> None:
    assert program_of(program_slug=name, program_name=name).slug == name
    assert program_of(program_name=name).name == name


TEXTS = st.none() | st.integers() | st.text(max_size=40)
PARTS = st.dictionaries(
    st.sampled_from(["slug", "id", "name", "provider", "kind"]),
    TEXTS | st.sampled_from(["course", "milady", "\ud800", "a\x00"]),
).map(json.dumps) | st.text(max_size=40)


@given(st.dictionaries(st.integers(-1, 25).map("includes_{}".format), PARTS | TEXTS, max_size=25), TEXTS, TEXTS)
def test_any_parts_make_an_event_that_can_be_sent(parts: dict[str, object], price: object, tier: object) -> None:
    metadata = {**stripe.OUR_METADATA, **parts, "price": price, "price_currency": "usd", "tier": tier}
    (envelope,) = translate(
        stripe.event("customer.subscription.created", stripe.subscription(metadata=metadata)), received_at=NOW
    )
    assert parse(envelope.headers(), envelope.body(), EVENT_TYPES).data == envelope.data
    assert b"\\u0000" not in envelope.body()
    program = envelope.data.program  # type: ignore[attr-defined]
    assert len({part.slug for part in program.parts}) == len(program.parts) <= 20


def test_a_slug_and_an_id_without_the_other_are_distinguished() -> None:
    """The ledger never ranks an id above a slug, so it has to know which of the two was sent."""
    neither = {"program_slug": None, "program_id": None}
    by_slug = program_of(**{**neither, "program_slug": "barber"})
    by_id = program_of(**{**neither, "program_id": "prog-1"})
    assert (by_slug.slug, by_slug.id_only) == ("barber", None)
    assert (by_id.slug, by_id.id, by_id.id_only) == ("prog-1", "prog-1", True)
