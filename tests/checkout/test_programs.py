"""Programs and sponsors: the public routes and the admin routes."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from tests.checkout.service import ADMIN, Service, bearer, wanted

from checkout.catalog import loader as catalog

PROGRAMS = "/api/admin/programs"
SPONSORS = "/api/admin/sponsors"


def new_slug() -> str:
    return f"program-{uuid4().hex[:8]}"


async def test_programs_are_public(service: Service) -> None:
    answer = await service.call("GET", "/api/programs/")
    assert answer.status_code == 200
    page = answer.json()
    assert page["next"] is None
    found = {item["slug"]: item for item in page["items"]}
    prices = {
        slug: [item[name] for name in ("price", "amount", "currency", "provider")] for slug, item in found.items()
    }
    assert prices["barber-apprenticeship"] == [4890, 489_000, "usd", "milady"]
    assert prices["dsp"] == [4325, 432_500, "usd", None]
    assert prices["hvac"] == [5000, 500_000, "usd", None]
    assert prices["cpr"] == [575, 57_500, "usd", None]
    assert set(found["cpr"]) == {"id", "slug", "name", "price", "amount", "currency", "provider"}
    assert UUID(found["cpr"]["id"])


async def test_loading_again_keeps_an_admins_edit(service: Service) -> None:
    changed = await service.admin("PATCH", f"{PROGRAMS}/cpr", name="CPR, first aid")
    assert changed.status_code == 200, changed.text
    assert changed.json()["price"] == 575, "what is not sent stays"
    await catalog.load(service.database, catalog.checked_in())
    names = {item["slug"]: item["name"] for item in (await service.call("GET", "/api/programs")).json()["items"]}
    assert names["cpr"] == "CPR, first aid"
    assert len(names) == len(await service.rows("SELECT 1 FROM items WHERE active AND kind = 'program'"))


async def test_an_admin_adds_prices_and_retires_a_program(service: Service) -> None:
    slug = new_slug()
    made = await service.admin("POST", PROGRAMS, slug=slug, name="Welding", price=1200, total_cost="1500.00")
    assert made.status_code == 201, made.text
    assert (made.json()["currency"], made.json()["active"], made.json()["provider"]) == ("usd", True, None)
    again = await service.admin("POST", PROGRAMS, slug=slug, name="Welding", price=10)
    assert (again.status_code, again.json()["code"]) == (409, "already_there")

    assert (await service.buy(uuid4(), wanted(slug, 1200))).status_code == 200
    assert (await service.admin("PATCH", f"{PROGRAMS}/{slug}/", price=1300)).json()["price"] == 1300
    assert (await service.buy(uuid4(), wanted(slug, 1200))).json()["code"] == "price_mismatch"
    assert (await service.admin("PATCH", f"{PROGRAMS}/{slug}", total_cost=None)).json()["total_cost"] is None

    assert (await service.admin("PATCH", f"{PROGRAMS}/{slug}", active=False)).status_code == 200
    assert (await service.buy(uuid4(), wanted(slug, 1300))).json()["code"] == "unknown_program"
    assert (await service.fund(uuid4(), slug=slug)).json()["code"] == "unknown_program"
    assert slug not in {item["slug"] for item in (await service.call("GET", "/api/programs")).json()["items"]}
    assert slug in {item["slug"] for item in (await service.admin("GET", PROGRAMS)).json()["items"]}


async def test_an_idempotency_key_creates_one_program(service: Service) -> None:
    slug, headers = new_slug(), bearer("admin", ADMIN) | {"Idempotency-Key": f"k-{uuid4()}"}
    body = {"slug": slug, "name": "Welding", "price": 1200}
    first = await service.call("POST", PROGRAMS, json=body, headers=headers)
    again = await service.call("POST", PROGRAMS, json=body, headers=headers)
    assert (first.status_code, again.status_code, first.json()) == (201, 201, again.json())
    other = await service.call("POST", PROGRAMS, json={**body, "price": 1}, headers=headers)
    assert other.status_code == 422


@pytest.mark.parametrize(
    "wrong",
    [
        {"price": -1},
        {"price": "4,890"},
        {"price": 0},
        {"price": 0.49},
        {"price": 1_000_000},
        {"price": True},
        {"slug": "Not A Slug"},
        {"currency": "USD"},
        {"name": ""},
        {"pirce": 5},
    ],
)
async def test_invalid_programs(service: Service, wrong: dict[str, object]) -> None:
    body = {"slug": new_slug(), "name": "Welding", "price": 1200, **wrong}
    answer = await service.call("POST", PROGRAMS, json=body, headers=bearer("admin", ADMIN))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("wrong", [{"price": None}, {"name": None}, {"active": None}, {"currency": None}])
async def test_required_fields_cannot_be_cleared(service: Service, wrong: dict[str, object]) -> None:
    answer = await service.call("PATCH", f"{PROGRAMS}/hvac", json=wrong, headers=bearer("admin", ADMIN))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("path", [PROGRAMS, SPONSORS])
@pytest.mark.parametrize("role", ["student", "case_manager", "specialist"])
async def test_only_admins_change_the_catalog(service: Service, path: str, role: str) -> None:
    headers = bearer(role, uuid4())
    may_read = role == "case_manager"  # who asks for funding has to know for what and by whom
    assert (await service.call("GET", path, headers=headers)).status_code == (200 if may_read else 403)
    assert (await service.call("POST", path, json={}, headers=headers)).status_code == 403
    assert (await service.call("PATCH", f"{path}/WIOA", json={}, headers=headers)).status_code == 403
    assert (await service.call("GET", path)).status_code == 401


async def test_unknown_programs_and_sponsors(service: Service) -> None:
    for path, code in ((f"{PROGRAMS}/nothing", "unknown_program"), (f"{SPONSORS}/NOTHING", "unknown_sponsor")):
        answer = await service.admin("PATCH", path, name="X")
        assert (answer.status_code, answer.json()["code"]) == (404, code)


async def test_sponsors(service: Service) -> None:
    listed = {item["code"] for item in (await service.admin("GET", SPONSORS)).json()["items"]}
    assert {"WIOA", "WRG", "JRI", "OJT", "WEX"} <= listed
    code = f"ACME-{uuid4().hex[:6].upper()}"
    made = await service.admin("POST", SPONSORS, code=code, name="Acme", finance_email="bills@acme.example")
    assert made.status_code == 201, made.text
    assert (await service.admin("POST", SPONSORS, code=code, name="Acme")).json()["code"] == "already_there"
    for wrong in ("not an address", "", "a@b", "a@b.example\nBcc: x@y.example"):
        refused = await service.admin("PATCH", f"{SPONSORS}/{code}", finance_email=wrong)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request"), wrong
    changed = await service.admin("PATCH", f"{SPONSORS}/{code.lower()}", finance_email="ap@acme.example")
    assert (changed.json()["finance_email"], changed.json()["name"]) == ("ap@acme.example", "Acme")
    assert (await service.admin("GET", f"{SPONSORS}/{code.lower()}")).json() == changed.json()
    assert (await service.admin("GET", f"{SPONSORS}/NOTHING")).json()["code"] == "unknown_sponsor"
