"""The payment methods: offered or not for an amount, payer and payment type, with limits and reasons."""

from __future__ import annotations

from datetime import date
from typing import Any, get_args
from uuid import uuid4

import pytest
from stripe.params.checkout import SessionCreateParams
from tests.checkout.service import Service, wanted

from checkout.purchases import payment_methods
from contracts.money import Money, usd

ALL = ["card", "affirm", "klarna", "afterpay_clearpay", "zip", "paypal", "venmo", "cashapp", "us_bank_account", "link"]
SPONSORS = {"card", "us_bank_account", "link"}


def offered(amount: Money, payer: Any = "student", payment_type: Any = "full") -> set[str]:
    return set(payment_methods.allowed(amount=amount, payer=payer, payment_type=payment_type))


def test_the_table_has_a_date_and_uses_stripes_names() -> None:
    table = payment_methods.table()
    assert [method.method for method in table.methods] == ALL
    assert isinstance(table.as_of, date)
    stripe_types = set(_literals(SessionCreateParams.__annotations__["allowed_payment_method_types"]))
    assert {method.method for method in table.methods if not method.unavailable} <= stripe_types


def _literals(hint: Any) -> list[str]:
    found: list[str] = []
    for part in get_args(hint):
        found += [part] if isinstance(part, str) else _literals(part)
    return found


@pytest.mark.parametrize(
    ("method", "least", "most"),
    [
        ("card", 50, 99_999_999),
        ("affirm", 5_000, 3_000_000),
        ("klarna", 100, 1_000_000),
        ("afterpay_clearpay", 100, 400_000),
        ("zip", 3_500, 150_000),
        ("cashapp", 50, 99_999_999),
        ("us_bank_account", 50, 99_999_999),
        ("link", 50, 99_999_999),
    ],
)
def test_limits_are_inclusive(method: str, least: int, most: int) -> None:
    for amount, fits in ((least, True), (least - 1, False), (most, True), (most + 1, False)):
        assert (method in offered(usd(amount))) is fits, amount


def test_methods_by_payer_and_payment_type() -> None:
    assert offered(usd(100_000), "sponsor") == SPONSORS
    assert offered(usd(100_000), "sponsor", "plan") == set()
    assert offered(usd(100_000)) == set(ALL) - {"paypal", "venmo"}
    assert offered(usd(100_000), payment_type="plan") == {"card", "klarna", "cashapp", "us_bank_account", "link"}


def test_a_plans_limits_hold_for_each_charge() -> None:
    assert "klarna" in offered(usd(4 * 1_000_000), payment_type="plan")
    assert "klarna" not in offered(usd(4 * 1_000_000 + 1), payment_type="plan"), "the first charge is one cent more"
    assert offered(usd(199), payment_type="plan") == set()
    assert offered(usd(3), payment_type="plan") == set()


def test_other_currencies() -> None:
    assert offered(Money(amount=100_000, currency="eur")) == {"card", "link"}


async def test_offers_to_a_student(service: Service) -> None:
    answer = await service.call("GET", "/api/payment-methods?program=barber-apprenticeship")
    assert answer.status_code == 200
    found = {item["method"]: item for item in answer.json()["items"]}
    assert list(found) == ALL
    assert answer.json()["next"] is None
    assert found["card"] == {
        "method": "card",
        "label": "Credit or debit card",
        "offered": True,
        "min": 50,
        "max": 99_999_999,
        "currency": "usd",
        "reason": None,
    }
    assert found["affirm"]["offered"] and found["klarna"]["offered"]
    refusals = {name: item["reason"] for name, item in found.items() if not item["offered"]}
    assert refusals == {
        "afterpay_clearpay": "Afterpay accepts at most 4,000.00 USD.",
        "zip": "Zip accepts at most 1,500.00 USD.",
        "paypal": "Stripe offers PayPal to European accounts only.",
        "venmo": "Stripe does not support Venmo.",
    }
    assert (found["zip"]["min"], found["zip"]["max"], found["venmo"]["min"]) == (3_500, 150_000, None)


async def test_offers_to_a_sponsor_and_for_a_plan(service: Service) -> None:
    path = "/api/payment-methods/?program=cpr&payer=sponsor&paymentType=full"
    items = (await service.call("GET", path)).json()["items"]
    assert {item["method"] for item in items if item["offered"]} == SPONSORS
    assert next(i["reason"] for i in items if i["method"] == "klarna") == "Klarna is not available to sponsors."
    items = (await service.call("GET", "/api/payment-methods?program=cpr&paymentType=plan")).json()["items"]
    assert next(i["reason"] for i in items if i["method"] == "affirm") == "Affirm cannot pay in installments."


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("program=surgery", 404),
        ("", 422),
        ("program=cpr&payer=parents", 422),
        ("program=cpr&paymentType=never", 422),
    ],
)
async def test_invalid_queries(service: Service, query: str, status: int) -> None:
    assert (await service.call("GET", f"/api/payment-methods?{query}")).status_code == status


@pytest.mark.parametrize("payment_type", ["full", "plan"])
async def test_stripe_offers_the_same_methods(service: Service, payment_type: str) -> None:
    student = uuid4()
    await service.buy(student, wanted("cpr", 575, paymentType=payment_type))
    (session,) = await service.sandbox.sessions_of(student)
    raw = session.to_dict()
    assert set(raw["allowed_payment_method_types"]) == offered(usd(57_500), payment_type=payment_type)
