"""Hostile and malformed input to the catalog."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.checkout.service import ADMIN, Service, bearer
from tests.checkout.test_catalog_registering import product
from tests.checkout.test_courses import buy, session_of

from contracts.checkout import CatalogItemRegistered
from contracts.envelope import Envelope
from kit.db.unit_of_work import utc_now

PRODUCTS = "/api/admin/payments/products"


async def course(service: Service, **more: Any) -> dict[str, Any]:
    body = {"kind": "course", "slug": f"c-{uuid4().hex[:10]}", "name": "Maths", "price": 50, **more}
    answer = await service.admin("POST", "/api/admin/items", **body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_a_registration_from_the_future_does_not_win_forever(service: Service) -> None:
    id = uuid4().hex
    event = CatalogItemRegistered.model_validate(product(id, price=1))
    ahead = utc_now() + timedelta(days=3650)
    await service.deliver(Envelope(id=f"lms/{id}", source="lms", subject=id, time=ahead, data=event))
    answer = await service.admin("POST", PRODUCTS, **product(id, price=99))
    assert (answer.status_code, answer.json()["price"]) == (200, 99)


async def test_an_id_that_is_another_items_external_id(service: Service) -> None:
    ours = await course(service)
    other = await course(service, external_id=ours["id"])
    answer = await service.admin("POST", PRODUCTS, **product(ours["id"], product_type="course", price=77))
    assert (answer.status_code, answer.json()["slug"]) == (200, ours["slug"]), answer.text
    unchanged = (await service.admin("GET", f"/api/admin/items/{other['slug']}")).json()
    assert unchanged["price"] == 50


async def test_a_number_too_long_for_an_id(service: Service) -> None:
    answer = await service.admin("POST", PRODUCTS, **product("x") | {"product_id": 10**250})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_bundle_is_not_larger_than_its_metadata(service: Service) -> None:
    """A part that the metadata does not name would get no enrollment."""
    parts = [(await course(service, name="Ü" * 300, provider="é" * 100))["slug"] for _ in range(21)]
    slug = f"b-{uuid4().hex[:10]}"
    body = {"kind": "bundle", "slug": slug, "name": "All", "price": 90}
    answer = await service.admin("POST", "/api/admin/items", **body, includes=parts)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    answer = await service.admin("POST", "/api/admin/items", **body, includes=parts[:20])
    assert answer.status_code == 201, answer.text
    student = uuid4()
    assert (await buy(service, student, slug)).status_code == 200
    await service.sandbox.pay((await session_of(service, student)).id)
    told = await service.sandbox.gateway_events()
    named = [said.data.program for said in told if said.data.student_id == student]
    assert named and all({enrollment.slug for enrollment in program.parts} == set(parts[:20]) for program in named)


HOSTILE: list[Any] = [
    "\x00",
    "\ud800",
    "a" * 100_000,
    10**400,
    -1,
    1.5,
    1e308,
    True,
    None,
    [],
    {},
    [[[[]]]],
    {"\ud800": "\x00"},
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "ﷺ" * 40,
    "../../x?y#z",
]

BODIES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", PRODUCTS, product("y")),
    (
        "POST",
        "/api/admin/items",
        {
            "kind": "course",
            "slug": "s",
            "name": "n",
            "price": 100,
            "external_id": "e",
            "currency": "usd",
            "category": "c",
            "provider": "p",
            "projects": [],
            "includes": [],
            "payment_plan": None,
            "tier": None,
            "annual_price": None,
            "owner_id": None,
            "total_cost": None,
        },
    ),
    ("PATCH", "/api/admin/items/dp", {"name": "Data Professional"}),
    ("POST", "/api/admin/programs", {"slug": "p", "name": "n", "price": 100, "provider": "x", "total_cost": 100}),
    ("PATCH", "/api/admin/programs/dsp", {"name": "Direct Support Professional"}),
    ("POST", "/api/admin/sponsors", {"code": "C", "name": "n", "finance_email": "a@example.org"}),
    (
        "POST",
        "/api/admin/promotions",
        {
            "code": "C",
            "percent_off": 10,
            "amount_off": None,
            "currency": "usd",
            "kinds": None,
            "items": None,
            "valid_from": None,
            "valid_until": None,
            "most_uses": 1,
            "most_per_student": 1,
        },
    ),
    (
        "POST",
        "/api/create-checkout-session",
        {"programName": "x", "programSlug": "dsp", "price": 4325, "paymentType": "full", "promotionCode": None},
    ),
    (
        "POST",
        "/api/funding/create-checkout",
        {"studentId": str(uuid4()), "programId": "p", "programSlug": "dsp", "fundingSource": "WIOA"},
    ),
    (
        "POST",
        "/api/payments/create-payment",
        {"track": "dp", "amount": 49_900, "currency": "usd", "promotionCode": None},
    ),
    (
        "POST",
        "/api/payments/create-intent",
        {"itemId": "dp", "itemType": "track", "amount": 49_900, "currency": "usd", "promotionCode": None},
    ),
    (
        "POST",
        "/api/payments/create-checkout-session",
        {
            "track": "dp",
            "success_url": "https://school.example/a",
            "cancel_url": "https://school.example/b",
            "promotionCode": None,
        },
    ),
    ("POST", "/api/payments/confirm-payment", {"paymentIntentId": "pi_1"}),
    ("POST", "/api/checkout", {"courseId": "dp", "promotionCode": None, "termsVersion": None}),
]


@pytest.mark.parametrize("method, path, body", BODIES, ids=[f"{method} {path}" for method, path, _ in BODIES])
async def test_no_body_causes_a_500(service: Service, method: str, path: str, body: dict[str, Any]) -> None:

    for name in [*body, "\ud800", "x\x00"]:
        for value in HOSTILE:
            raw = json.dumps({**body, name: value})
            answer = await service.call(method, path, raw=raw, headers=bearer("admin", ADMIN))
            assert answer.status_code < 500, (name, str(value)[:40], answer.text)
            assert method != "PATCH" or name == "name" or answer.status_code != 200 or value is None, (
                name,
                answer.text,
            )
    for raw in (
        "[" * 200_000,
        '{"a":' * 100_000,
        "1" * 10_000,
        '{"price": NaN}',
        "\x00",
        "é" * 10,
        '"' + "x" * 10_000_000 + '"',
    ):
        answer = await service.call(method, path, raw=raw, headers=bearer("admin", ADMIN))
        assert answer.status_code < 500, (raw[:20], answer.text)
    if method == "PATCH":  # other tests expect the item's own name
        assert (await service.admin(method, path, **body)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/catalog?cursor={}",
        "/api/catalog?kind={}",
        "/api/payment-methods?program={}",
        "/api/promotions/{}?item=dp",
        "/api/promotions/X?item={}",
        "/api/admin/items?cursor={}",
        "/api/admin/items?category={}",
        "/api/admin/items/{}",
        "/api/admin/programs?cursor={}",
        "/api/admin/promotions/{}",
        "/api/admin/promotions/{}/redemptions",
        "/api/admin/promotions?cursor={}",
        "/api/admin/sponsors?cursor={}",
    ],
)
async def test_no_path_causes_a_500(service: Service, path: str) -> None:
    for value in ("%00", "%ED%A0%80", "%FF", "a" * 5000, "%F0%9F%92%A9", "1e999", "MDAwMQ", "bnVsbA==", "%22%5C"):
        answer = await service.admin("GET", path.format(value))
        assert answer.status_code < 500, (value, answer.text)
