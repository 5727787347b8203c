"""Valid and invalid items and payment plans."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from checkout.catalog.repository import Item, PaymentPlan
from contracts.money import Money, usd

PROJECTS = [{"title": "A page", "steps": ["Write it"]}]


def item(**fields: Any) -> Item:
    return Item(**{"id": uuid4(), "kind": "track", "slug": "a", "name": "A", "price": 100, "currency": "usd"} | fields)


def test_an_item_as_events_describe_it() -> None:
    parts = (
        item(slug="a", name="A", price=100),
        item(slug="b", name="B", price=250, kind="program", provider="milady"),
    )
    bundle = item(kind="bundle", slug="both", name="Both", price=300, includes=parts)
    assert (bundle.parts_price, bundle.saving, bundle.money) == (usd(350), usd(50), usd(300))
    program = bundle.as_program()
    assert (program.slug, program.kind, program.id) == ("both", "bundle", str(bundle.id))
    assert [(p.slug, p.kind, p.provider) for p in program.parts] == [("a", "track", None), ("b", "program", "milady")]
    assert bundle.as_program(id="p-1").id == "p-1"
    assert item(kind="bundle", price=400, includes=parts).saving is None
    for tier in ("student", "career"):
        member = item(kind="membership", slug=f"{tier}-m", tier=tier, annual_price=1_000)
        assert (member.as_program().slug, member.as_program().kind) == ("membership", "membership")
        assert member.annual == usd(1_000)


@pytest.mark.parametrize(
    ("fields", "amount"),
    [
        ({"total_cost": 432_500}, usd(432_500)),
        ({"total_cost": 432_500, "currency": "eur"}, Money(amount=432_500, currency="eur")),
        ({}, usd(29_500)),
        ({"currency": "eur"}, Money(amount=489_000, currency="eur")),
    ],
)
def test_what_a_sponsor_pays(fields: dict[str, Any], amount: Money) -> None:
    assert item(price=489_000, **fields).funding_amount == amount


PARTS = (item(slug="a"), item(slug="b"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"slug": "membership"},
        {"slug": "No Slug"},
        {"price": -1},
        {"price": 10.0},
        {"price": "100"},
        {"price": True},
        {"price": 100_000_000},
        {"currency": "USD"},
        {"kind": "thing"},
        {"kind": "membership"},
        {"tier": "student"},
        {"annual_price": 5},
        {"includes": PARTS},
        {"kind": "bundle"},
        {"kind": "bundle", "includes": PARTS[:1]},
        {"kind": "bundle", "includes": (PARTS[0], PARTS[0])},
        {"kind": "bundle", "includes": (PARTS[0], item(slug="b", currency="eur"))},
        {"kind": "bundle", "currency": "eur", "includes": PARTS},
        {"kind": "bundle", "includes": (PARTS[0], item(kind="membership", tier="x"))},
        {"kind": "bundle", "includes": (PARTS[0], item(kind="bundle", includes=PARTS))},
        {"kind": "service", "projects": PROJECTS},
    ],
)
def test_invalid_items(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        item(**wrong)


def test_payment_plans() -> None:
    PaymentPlan(type="full")
    PaymentPlan(type="subscription")
    assert PaymentPlan(type="installments", installments=4).interval_days is None, "monthly"
    PaymentPlan(type="deposit_installments", deposit_percent=20, installments=3, interval_days=14)
    for wrong in (
        {"type": "weekly"},
        {"type": "installments"},
        {"type": "installments", "installments": 1},
        {"type": "installments", "installments": 4, "deposit_percent": 10},
        {"type": "full", "installments": 4},
        {"type": "full", "interval_days": 30},
        {"type": "subscription", "installments": 4},
        {"type": "deposit_installments", "installments": 4},
        {"type": "deposit_installments", "installments": 4, "deposit_percent": 100},
        {"type": "deposit_installments", "installments": 4, "deposit_percent": 10.5},
    ):
        with pytest.raises(ValidationError):
            PaymentPlan.model_validate(wrong)
