"""What Stripe objects tell of a purchase beside the payment: kind, bundle, installment, price, tax, tier, funds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.webhook_gateway import stripe_events as stripe

from contracts.envelope import parse
from contracts.money import Money, usd
from contracts.people import Program
from contracts.registry import EVENT_TYPES
from webhook_gateway.translate import translate

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def meaning(type: str, thing: dict[str, Any], **fields: Any) -> Any:
    (said,) = translate({**stripe.event(type, thing), **fields}, received_at=NOW)
    return said.data


def bought(**metadata: object) -> Program:
    """The program that an intent with this metadata was paid for."""
    told = {**stripe.OUR_METADATA, **metadata}
    program: Program = meaning("payment_intent.succeeded", stripe.intent(metadata=told)).program
    return program


def part(**fields: object) -> str:
    return json.dumps({"slug": "a", "id": "1", **fields}, separators=(",", ":"))


def test_a_bundle_names_what_it_includes() -> None:
    program = meaning("payment_intent.succeeded", stripe.intent(metadata=stripe.BUNDLE_METADATA)).program
    assert program.kind == "bundle"
    assert [(enrollment.slug, enrollment.id, enrollment.provider, enrollment.kind) for enrollment in program.parts] == [
        ("barber-apprenticeship", "prog_1", "milady", "program"),
        ("tool-kit", "prod_7", None, "product"),
    ]
    assert program.parts[1].title == "Tool kit"


@pytest.mark.parametrize(
    ("told", "kind"),
    [(kind, kind) for kind in ("program", "track", "course", "product", "service", "bundle", "membership")]
    + [("castle", None), ("", None), ("Program", None), (None, None), (7, None), (["program"], None)],
)
def test_a_kind_is_one_that_the_catalog_has(told: object, kind: str | None) -> None:
    assert bought(program_kind=told).kind == kind
    (enrollment,) = bought(includes_1=part(kind=told)).parts
    assert enrollment.kind == kind


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "{",
        "null",
        "[]",
        '"a"',
        "[" * 500,
        "9" * 500,
        part(slug=""),
        part(slug=None),
        part(id=7),
        json.dumps({"slug": "x"}),
        part(name="x" * 500),
        7,
        None,
        {"slug": "x", "id": "1"},
    ],
    ids=str,
)
def test_a_broken_part_is_left_out_and_the_others_stay(broken: object) -> None:
    program = bought(includes_1=part(slug="first"), includes_2=broken, includes_3=part(slug="third"))
    assert [enrollment.slug for enrollment in program.parts] == ["first", "third"]


def test_parts_come_in_the_order_of_their_numbers_each_once_and_twenty_at_most() -> None:
    told = {f"includes_{n}": part(slug=f"s{n}") for n in (20, 10, 9, 2, 1, 0, 21, "x", "01")}
    assert [enrollment.slug for enrollment in bought(**told).parts] == ["s1", "s2", "s9", "s10", "s20"]
    assert len(bought(includes_1=part(), includes_2=part(name="again")).parts) == 1


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
def test_every_payment_of_an_amount_due_names_it(type: str, thing: dict[str, Any]) -> None:
    said = meaning(type, thing)
    assert said.refs.installment == "due_1"
    assert "due_1" not in said.refs.of_payment()
    assert said.price == usd(489_000)


def test_what_nobody_told_is_not_told() -> None:
    said = meaning("payment_intent.succeeded", stripe.intent())
    assert (said.refs.installment, said.price, said.program.kind, said.program.includes) == (None, None, None, ())


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
        ("489000", None, None),
        (None, "usd", None),
    ],
)
def test_a_price_is_digits_and_a_currency(amount: object, currency: object, price: Money | None) -> None:
    metadata = {**stripe.OUR_METADATA, "price": amount, "price_currency": currency}
    assert meaning("payment_intent.succeeded", stripe.intent(metadata=metadata)).price == price


@pytest.mark.parametrize(
    ("count", "installments"), [("4", 4), ("120", 120), ("121", None), ("0", None), ("000012345", None), ("x", None)]
)
def test_a_count_of_installments_is_not_cut(count: str, installments: int | None) -> None:
    metadata = {**stripe.OUR_METADATA, "installments": count}
    assert meaning("payment_intent.succeeded", stripe.intent(metadata=metadata)).installments == installments


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
def test_a_session_says_how_much_is_tax(type: str, details: object, tax: Money | None) -> None:
    assert meaning(type, stripe.session(total_details=details)).tax == tax


@pytest.mark.parametrize(
    ("fields", "tax"),
    [
        ({"total_taxes": [{"amount": 700}, {"amount": 55}]}, usd(755)),
        ({"total_taxes": [{"amount": 700}, {"amount": "x"}, None, 7]}, usd(700)),
        ({"total_taxes": [], "tax": 90}, usd(90)),
        ({"total_taxes": None, "tax": 90}, usd(90)),
        ({"total_taxes": [{"amount": 700}], "tax": 90}, usd(700)),
        ({"total_taxes": [{"amount": 0}], "tax": None}, None),
        ({"total_taxes": [{"amount": 700}], "amount_paid": 0}, None),  # a credit has paid it
        ({"total_taxes": [{"amount": 10**12}] * 9}, usd(122_250)),
        ({}, None),
    ],
)
def test_an_invoice_says_how_much_is_tax(fields: dict[str, Any], tax: Money | None) -> None:
    assert meaning("invoice.paid", stripe.invoice(**fields)).tax == tax


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
    ("status", "said_as"),
    [("needs_response", "payment.dispute_opened.v1"), ("lost", "payment.dispute_closed.v1")],
)
def test_a_dispute_says_where_the_money_is(type: str, funds: str | None, status: str, said_as: str) -> None:
    said = meaning(type, stripe.dispute(status=status))
    assert (said.type, said.status, said.funds) == (said_as, status, funds)


def test_a_membership_says_its_tier_its_pause_and_when_that_was_so() -> None:
    paused = {"behavior": "void", "resumes_at": None}
    thing = stripe.subscription(metadata=stripe.BUNDLE_METADATA, pause_collection=paused)
    said = meaning("customer.subscription.updated", thing)
    assert (said.tier, said.collection_paused) == ("gold", True)
    assert said.as_of == datetime.fromtimestamp(1_790_000_000, UTC)


@pytest.mark.parametrize("pause", [None, False, True, "void", 7, []])
def test_what_is_no_pause_pauses_nothing(pause: object) -> None:
    assert (
        meaning("customer.subscription.updated", stripe.subscription(pause_collection=pause)).collection_paused is False
    )


@pytest.mark.parametrize("created", [None, "1790000000", -1, 10**20, True])
def test_a_state_without_a_time_has_none(created: object) -> None:
    """It would be the last word for ever if the time of receipt stood in for it."""
    assert meaning("customer.subscription.updated", stripe.subscription(), created=created).as_of is None


TEXTS = st.none() | st.integers() | st.text(max_size=40)
PARTS = st.dictionaries(
    st.sampled_from(["slug", "id", "name", "provider", "kind"]),
    TEXTS | st.sampled_from(["course", "milady", "\ud800", "a\x00"]),
).map(json.dumps) | st.text(max_size=40)


@given(st.dictionaries(st.integers(-1, 25).map("includes_{}".format), PARTS | TEXTS, max_size=25), TEXTS, TEXTS)
def test_any_parts_make_a_bundle_that_can_be_sent(parts: dict[str, object], price: object, tier: object) -> None:
    metadata = {**stripe.OUR_METADATA, **parts, "price": price, "price_currency": "usd", "tier": tier}
    (said,) = translate(
        stripe.event("customer.subscription.created", stripe.subscription(metadata=metadata)), received_at=NOW
    )
    assert parse(said.headers(), said.body(), EVENT_TYPES).data == said.data
    assert b"\\u0000" not in said.body()
    program = said.data.program  # type: ignore[attr-defined]
    assert len({enrollment.slug for enrollment in program.parts}) == len(program.parts) <= 20
