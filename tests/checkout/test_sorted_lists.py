"""Lists in another order: each row once, whatever the column; a cursor belongs to one order."""

from __future__ import annotations

import base64
from uuid import uuid4

import pytest
from tests.checkout.service import Service
from tests.plans import recorded, scans_of

ITEMS = "/api/admin/items"


@pytest.fixture
async def category(service: Service) -> str:
    """Five items of it, some with the same name and price."""
    category = uuid4().hex
    for name, price in (("B", 30), ("A", 10), ("B", 20), ("C", 20), ("A", 20)):
        item = {"kind": "course", "slug": f"course-{uuid4().hex[:8]}", "name": name, "price": price}
        created = await service.admin("POST", ITEMS, **item, category=category)
        assert created.status_code == 201, created.text
    return category


async def listed(service: Service, category: str, sort: str) -> list[tuple[str, float]]:
    rows, cursor = list[tuple[str, float]](), ""
    ids = set[str]()
    while True:
        page = (await service.admin("GET", f"{ITEMS}?category={category}&limit=2&sort={sort}{cursor}")).json()
        rows += [(each["name"], each["price"]) for each in page["items"]]
        ids |= {each["id"] for each in page["items"]}
        if page["next"] is None:
            assert len(ids) == len(rows) == 5
            return rows
        cursor = f"&cursor={page['next']}"


@pytest.mark.parametrize("sort", ["name", "-name", "price", "-price", "created_at", "-created_at"])
async def test_each_row_is_listed_once_in_its_order(service: Service, category: str, sort: str) -> None:
    rows = await listed(service, category, sort)
    match sort.removeprefix("-"):
        case "name":
            values = [name for name, _ in rows]
        case "price":
            values = [str(price) for _, price in rows]
        case _:
            newest = await listed(service, category, "-created_at")
            assert rows == (newest if sort == "-created_at" else newest[::-1])
            return
    assert values == sorted(values, reverse=sort.startswith("-"))


async def test_a_cursor_of_another_order_is_refused(service: Service, category: str) -> None:
    page = (await service.admin("GET", f"{ITEMS}?category={category}&limit=2&sort=name")).json()
    for sort in ("price", "-name", "-created_at", "created_at"):
        refused = await service.admin("GET", f"{ITEMS}?sort={sort}&cursor={page['next']}")
        assert (refused.status_code, refused.json()["code"]) == (400, "cursor_invalid")


@pytest.mark.parametrize("value", ["name/a\x00/", "price/1e3/", f"price/{2**63}/", "price//", "created_at/now/"])
async def test_a_cursor_that_nobody_has_returned_is_refused(service: Service, value: str) -> None:
    cursor = base64.urlsafe_b64encode(f"{value}{uuid4()}".encode()).decode()
    refused = await service.admin("GET", f"{ITEMS}?sort={value.split('/')[0]}&cursor={cursor}")
    assert (refused.status_code, refused.json()["code"]) == (400, "cursor_invalid")


async def test_an_order_that_a_list_does_not_have_is_refused(service: Service) -> None:
    assert (await service.admin("GET", f"{ITEMS}?sort=total_cost")).status_code == 422


@pytest.mark.parametrize(
    ("path", "index"),
    [
        ("/api/purchases", "ix_purchases_created_at"),
        ("/api/admin/payments", "ix_payments_created_at"),
        ("/api/receipts", "ix_documents_created_at"),
    ],
)
async def test_a_page_of_the_newest_sorts_no_table(service: Service, path: str, index: str) -> None:
    async with recorded(service.app.state.database) as executed:
        answer = await service.admin("GET", path)
    assert answer.status_code == 200, answer.text
    (listed,) = [each for each in executed if "ORDER BY" in each.statement]
    assert index in await scans_of(service.server.staff_url, listed)
