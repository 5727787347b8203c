"""What is stored may be invalid (a rule is newer than a row): lists show it, nothing sells it, an admin can mend it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from tests.checkout.service import ADMIN, Service, bearer, wanted
from tests.checkout.test_courses import buy, promotion

from checkout.catalog import loader

ITEMS = "/api/admin/items"
PROMOTIONS = "/api/admin/promotions"

ROWS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "a program without a price": ({"price": "0"}, {"price": 1200}),
    "less than a program costs": ({"price": "1"}, {"price": 1200}),
    "a price beyond the limit": ({"price": "9000000000000000000"}, {"price": 1200}),
    "no name": ({"name": "''"}, {"name": "Welding"}),
    "another currency": ({"currency": "'US Dollars'"}, {"currency": "usd", "price": 12}),
    "a plan that is none": ({"payment_plan": '\'{"type": "never"}\''}, {"payment_plan": None}),
    "a plan that is a list": ({"payment_plan": "'[1, 2]'"}, {"payment_plan": None}),
    "a subscription": ({"payment_plan": '\'{"type": "subscription"}\''}, {"payment_plan": None}),
    "projects that are none": ({"projects": "'[1]'"}, {"projects": []}),
    "projects that are text": ({"projects": "'\"x\"'"}, {"projects": []}),
    "no provider": ({"provider": "''"}, {"provider": None}),
    "the total cost of nothing": ({"total_cost": "1"}, {"total_cost": None}),
}


async def insert(service: Service, columns: dict[str, str], kind: str = "program") -> str:
    """Inserts an item, by SQL."""
    slug = f"invalid-{uuid4().hex[:10]}"
    values = {
        "id": "gen_random_uuid()",
        "kind": f"'{kind}'",
        "slug": f"'{slug}'",
        "name": "'Welding'",
        "price": "120000",
        "currency": "'usd'",
        **columns,
    }
    sql = f"INSERT INTO items ({', '.join(values)}) VALUES ({', '.join(values.values())}) RETURNING id"
    await service.rows(sql.replace(":", "\\:"))
    return slug


@pytest.mark.parametrize("name", ROWS)
async def test_a_list_never_fails_on_a_row(service: Service, name: str) -> None:
    columns, mended = ROWS[name]
    slug = await insert(service, columns)
    try:
        for path in (ITEMS, "/api/admin/programs"):
            listed = await service.admin("GET", f"{path}?limit=3")
            assert listed.status_code == 200, listed.text
            assert slug in {each["slug"] for each in listed.json()["items"]}
        one = await service.admin("GET", f"{ITEMS}/{slug}")
        assert one.json()["errors"], "it says why it is not sold"
        for path in ("/api/programs", "/api/catalog?limit=200"):
            public = await service.call("GET", path)
            assert public.status_code == 200, public.text
            assert slug not in {each["slug"] for each in public.json()["items"]}
        assert (await service.buy(uuid4(), wanted(slug, 1200))).json()["code"] == "unknown_program"
        assert (await buy(service, uuid4(), slug)).json()["code"] == "unknown_course"
        await loader.load(service.database, loader.checked_in())

        answer = await service.admin("PATCH", f"{ITEMS}/{slug}", **mended)
        assert answer.status_code == 200, answer.text
        assert answer.json()["errors"] == []
        sold = await service.buy(uuid4(), wanted(slug, answer.json()["price"]))
        assert sold.status_code == 200, sold.text
    finally:
        await service.rows("UPDATE items SET active = false WHERE slug = :slug RETURNING id", slug=slug)


async def test_a_bundle_with_an_invalid_part_is_not_sold(service: Service) -> None:
    parts = [await insert(service, {}, "course") for _ in range(2)]
    bundle = f"b-{uuid4().hex[:10]}"
    body = {"kind": "bundle", "slug": bundle, "name": "Both", "price": 90, "includes": parts}
    assert (await service.admin("POST", ITEMS, **body)).status_code == 201
    await service.rows("UPDATE items SET name = '' WHERE slug = :slug RETURNING id", slug=parts[0])
    assert (await buy(service, uuid4(), bundle)).json()["code"] == "unknown_course"
    assert (await service.admin("GET", f"{ITEMS}/{bundle}")).json()["includes"] == parts
    mended = await service.admin("PATCH", f"{ITEMS}/{parts[0]}", name="Welding")
    assert mended.status_code == 200, mended.text
    assert (await buy(service, uuid4(), bundle)).status_code == 200


@pytest.mark.parametrize("price", [0, 0.01, 0.49, "0.00"])
async def test_a_program_is_not_free(service: Service, price: object) -> None:
    slug = f"free-{uuid4().hex[:10]}"
    body = {"slug": slug, "name": "F", "price": price, "currency": "usd"}
    product = {"product_type": "program", "product_id": slug, "product_name": "F", "price": price, "currency": "usd"}
    for path, sent in (
        (ITEMS, {"kind": "program", **body}),
        ("/api/admin/programs", body),
        ("/api/admin/payments/products", product),
    ):
        answer = await service.admin("POST", path, **sent)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), path
    assert await service.rows("SELECT id FROM items WHERE slug = :slug OR external_id = :slug", slug=slug) == []
    for path in (ITEMS, "/api/admin/programs"):
        assert (await service.admin("GET", path)).status_code == 200
    changed = await service.admin("PATCH", "/api/admin/programs/hvac", price=price)
    assert (changed.status_code, changed.json()["code"]) == (422, "invalid_request")


MOMENTS = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+14:00", "1999-12-31T23:59:59Z")


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("field", ["valid_from", "valid_until"])
async def test_the_first_and_last_moments_are_refused(service: Service, field: str, moment: str) -> None:
    code = f"E{uuid4().hex[:10].upper()}"
    made = await service.admin("POST", PROMOTIONS, code=code, percent_off=5, **{field: moment})
    assert (made.status_code, made.json()["code"]) == (422, "invalid_request")
    assert (await service.admin("GET", f"{PROMOTIONS}/{code}")).status_code == 404
    code = await promotion(service, percent_off=5)
    changed = await service.admin("PATCH", f"{PROMOTIONS}/{code}", **{field: moment})
    assert (changed.status_code, changed.json()["code"]) == (422, "invalid_request")
    assert (await service.admin("GET", PROMOTIONS)).status_code == 200


@pytest.mark.parametrize(
    "columns",
    [
        {"valid_from": "'-infinity'"},
        {"valid_until": "'infinity'"},
        {"valid_from": "'infinity'"},
        {"kinds": "ARRAY['thing']"},
        {"items": "ARRAY['']"},
        {"kinds": "'{}'"},
        {"currency": "'US Dollars'"},
        {"most_uses": "2000000000"},
    ],
)
async def test_an_invalid_code_is_listed_and_mended(service: Service, columns: dict[str, str]) -> None:
    code = f"I{uuid4().hex[:10].upper()}"
    values = {"code": f"'{code}'", "percent_off": "5", **columns}
    await service.rows(
        f"INSERT INTO promotion_codes ({', '.join(values)}) VALUES ({', '.join(values.values())}) RETURNING id"
    )
    listed = await service.admin("GET", f"{PROMOTIONS}?limit=3")
    assert listed.status_code == 200, listed.text
    assert code in {each["code"] for each in listed.json()["items"]}
    assert (await service.admin("GET", f"{PROMOTIONS}/{code}")).status_code == 200
    headers = bearer("student", uuid4())
    quoted = await service.call("GET", f"/api/promotions/{code}?item=fsd", headers=headers)
    assert quoted.status_code in (200, 409), quoted.text
    mended: dict[str, Any] = {"most_uses": 5} if "most_uses" in columns else dict.fromkeys(columns)
    answer = await service.call("PATCH", f"{PROMOTIONS}/{code}", json=mended, headers=bearer("admin", ADMIN))
    assert answer.status_code == 200, answer.text
    assert (await service.call("GET", f"/api/promotions/{code}?item=fsd", headers=headers)).status_code == 200


async def test_an_invalid_sponsor_is_listed(service: Service) -> None:
    code = f"BAD {uuid4().hex[:6]}"
    await service.rows(
        "INSERT INTO sponsors (code, name, finance_email) VALUES (:code, '', 'no address') RETURNING id", code=code
    )
    listed = await service.admin("GET", "/api/admin/sponsors?limit=3")
    assert listed.status_code == 200, listed.text
    assert code in {each["code"] for each in listed.json()["items"]}
    await service.rows("DELETE FROM sponsors WHERE code = :code RETURNING id", code=code)
