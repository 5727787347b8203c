"""Prices are major units in requests and answers, exactly; amounts beside them are minor units."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from tests.checkout.installment_steps import FIRST, School
from tests.checkout.service import ADMIN, Service, bearer
from tests.checkout.test_courses import buy, session_of

from checkout.units import MajorUnits, in_major_units, is_major, money_of
from contracts.money import Money
from kit.http.problems import Problem

ITEMS = "/api/admin/items"
PRODUCTS = "/api/admin/payments/products"
EXPONENTS = {"usd": 2, "jpy": 0, "kwd": 3}


async def post(service: Service, path: str, raw: str, **headers: str) -> Any:
    return await service.call("POST", path, raw=raw, headers=bearer("admin", ADMIN) | headers)


def new_item(price: str, currency: str = "usd", **fields: Any) -> str:
    body = {"kind": "course", "slug": f"c-{uuid4().hex[:10]}", "name": "C", "currency": currency, **fields}
    return json.dumps(body)[:-1] + f', "price": {price}}}'


@pytest.mark.parametrize(
    ("sent", "currency", "displayed", "minor"),
    [
        ("300", "usd", "300.00", 30_000),
        ("299.99", "usd", "299.99", 29_999),
        ('"299.99"', "usd", "299.99", 29_999),
        ("100.00", "usd", "100.00", 10_000),
        ("0.1", "usd", "0.10", 10),
        ("0", "usd", "0.00", 0),
        ("999999.99", "usd", "999999.99", 99_999_999),
        ("5000", "jpy", "5000", 5_000),
        ('"5000"', "jpy", "5000", 5_000),
        ("5000.0", "jpy", "5000", 5_000),
        ("1.234", "kwd", "1.234", 1_234),
        ('"1.2"', "kwd", "1.200", 1_200),
    ],
)
async def test_a_price_is_stored_and_returned_exactly(
    service: Service, sent: str, currency: str, displayed: str, minor: int
) -> None:
    made = await post(service, ITEMS, new_item(sent, currency))
    assert made.status_code == 201, made.text
    slug = made.json()["slug"]
    for answer in (made, await service.admin("GET", f"{ITEMS}/{slug}"), await service.admin("GET", ITEMS)):
        assert f'"price":{displayed},"amount":{minor},"currency":"{currency}"' in answer.text
    (row,) = await service.rows("SELECT price FROM items WHERE slug = :slug", slug=slug)
    assert row["price"] == minor
    public = await service.call("GET", "/api/catalog?limit=200")
    assert f'"price":{displayed},"amount":{minor},"currency":"{currency}"' in public.text
    assert len(public.content) == int(public.headers["content-length"])


@pytest.mark.parametrize(
    ("sent", "currency"),
    [("299.999", "usd"), ('"0.001"', "usd"), ("100.5", "jpy"), ('"1.2345"', "kwd"), ("0.00000000001", "kwd")],
)
@pytest.mark.parametrize("field", ["price", "total_cost"])
async def test_more_decimals_than_the_currency_has(service: Service, sent: str, currency: str, field: str) -> None:
    raw = new_item(sent, currency) if field == "price" else new_item("9", currency)[:-1] + f', "{field}": {sent}}}'
    answer = await post(service, ITEMS, raw)
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_decimals")
    assert f"`{field}`" in answer.json()["detail"] and currency.upper() in answer.json()["detail"]


async def test_a_product_is_sold_for_its_price(service: Service) -> None:
    """The body that another system's document shows."""
    for price, minor in (("299.99", 29_999), ("300", 30_000), ('"299.99"', 29_999)):
        id = f"course-{uuid4().hex[:10]}"
        body = (
            f'{{"product_type": "course", "product_id": "{id}", "product_name": "Python", "price": {price}, '
            '"currency": "USD", "auto_assign_payment_plan": true}'
        )
        answer = await post(service, PRODUCTS, body)
        assert answer.status_code == 201, answer.text
        student = uuid4()
        assert (await buy(service, student, id)).status_code == 200
        session = await session_of(service, student)
        assert (session.amount_total, session.currency) == (minor, "usd")


async def test_a_replayed_answer_is_the_same_text(service: Service) -> None:
    raw, key = new_item("300"), f"k-{uuid4()}"
    first = await post(service, ITEMS, raw, **{"Idempotency-Key": key})
    again = await post(service, ITEMS, raw, **{"Idempotency-Key": key})
    assert again.headers["Idempotent-Replayed"] == "true"
    assert '"price":300.00,' in first.text and '"price":300.00,' in again.text
    assert first.json() == again.json()


async def test_another_currency_needs_all_prices(service: Service) -> None:
    """150.00 USD must not become 15,000 JPY."""
    made = (await post(service, ITEMS, new_item("100", total_cost=150))).json()
    path = f"{ITEMS}/{made['slug']}"
    for change in ({}, {"price": 10_000}, {"total_cost": 15_000}):
        refused = await service.admin("PATCH", path, currency="jpy", **change)
        assert (refused.status_code, refused.json()["code"]) == (422, "prices_required"), change
    fractions = await service.admin("PATCH", path, currency="jpy", price="100.5", total_cost=None)
    assert (fractions.status_code, fractions.json()["code"]) == (422, "too_many_decimals")
    changed = await service.admin("PATCH", path, currency="jpy", price=10_000, total_cost=None)
    assert (changed.json()["price"], changed.json()["amount"], changed.json()["currency"]) == (10_000, 10_000, "jpy")
    again = {"product_type": "course", "product_id": made["id"], "product_name": "C"}
    usd = await service.admin("POST", PRODUCTS, **again, price="99.50", currency="usd")
    assert (usd.status_code, usd.json()["amount"]) == (200, 9_950), usd.text


async def test_a_cancellation_refunds_major_units(school: School) -> None:
    enrollment = await school.started()
    path = f"/api/admin/enrollments/{enrollment['enrollment_id']}/cancel"
    headers = {**bearer("admin", ADMIN), "Content-Type": "application/json"}
    raw = '{"reason": "moved away", "refund_amount": %s}'
    three = await school.service.call("POST", path, app=school.app, content=raw % "100.001", headers=headers)
    assert (three.status_code, three.json()["code"]) == (422, "too_many_decimals")
    assert await school.state() == "paid"
    answer = await school.service.call("POST", path, app=school.app, content=raw % "100.00", headers=headers)
    assert (answer.status_code, answer.json()["refunded"], answer.json()["currency"]) == (200, 10_000, "usd")
    await school.run_due()
    assert await school.charges() == FIRST - 10_000


async def test_purchases_state_both_units(school: School) -> None:
    enrollment = await school.started()
    for path in (f"/api/enrollments/{enrollment['enrollment_id']}/payment", "/api/purchases"):
        answer = await school.call("GET", path)
        assert answer.status_code == 200, answer.text
        assert '"price":4890.00,"amount":489000,' in answer.text


@given(amount=st.integers(min_value=0, max_value=10**12), currency=st.sampled_from(sorted(EXPONENTS)))
def test_the_units_are_inverse(amount: int, currency: str) -> None:
    money = Money(amount=amount, currency=currency)
    major = in_major_units(amount, currency)
    assert major.as_tuple().exponent == -EXPONENTS[currency]
    for sent in (major, str(major), f"{major:f}"):
        assert money_of(TypeAdapter(MajorUnits).validate_python(sent), currency) == money


@given(
    sent=st.decimals(min_value=0, max_value=10**10, places=6, allow_nan=False),
    currency=st.sampled_from(sorted(EXPONENTS)),
)
def test_nothing_is_rounded(sent: Decimal, currency: str) -> None:
    try:
        money = money_of(TypeAdapter(MajorUnits).validate_python(sent), currency)
    except Problem as refused:
        assert refused.code == "too_many_decimals"
        assert sent != sent.quantize(Decimal(1).scaleb(-EXPONENTS[currency]))
    else:
        assert money.to_decimal() == sent


@given(
    sent=st.one_of(
        st.text(),
        st.floats(),
        st.booleans(),
        st.none(),
        st.decimals(),
        st.integers(max_value=-1),
        st.integers(min_value=10**15),
    )
)
def test_whatever_is_sent_is_exact_or_refused(sent: Any) -> None:
    try:
        value = TypeAdapter(MajorUnits).validate_python(sent)
    except ValidationError:
        return
    assert value == Decimal(str(sent)) and 0 <= value < 10**15


def test_names_of_prices() -> None:
    assert all(map(is_major, ("price", "list_price", "annual_price", "monthly_price", "total_cost", "refund_amount")))
    assert not any(map(is_major, ("amount", "paid", "due", "refunded", "amount_off", "pricey", "cost")))
