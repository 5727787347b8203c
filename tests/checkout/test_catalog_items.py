"""Items: the initial catalog, finding items, the admin routes and the public catalog."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.checkout.service import ADMIN, Service, bearer, wanted

from checkout.catalog import loader
from checkout.catalog.repository import find_any_item, find_item, programs_on_sale, slug_of
from contracts.money import usd

ITEMS = "/api/admin/items"
PROJECTS = [{"title": "A page", "steps": ["Write it", "Publish it"]}, {"title": "A shop", "steps": ["Sell it"]}]


def new_slug(kind: str = "item") -> str:
    return f"{kind}-{uuid4().hex[:8]}"


async def made(service: Service, kind: str = "course", **fields: Any) -> dict[str, Any]:
    body = {"kind": kind, "slug": new_slug(kind), "name": "Something", "price": 100, **fields}
    answer = await service.admin("POST", ITEMS, **body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def published(service: Service, slug: str) -> list[dict[str, Any]]:
    """The events of an item, in the order of its revisions."""
    found = await service.rows(
        "SELECT convert_from(body, 'UTF8') AS body, mandatory FROM outbox_messages "
        "WHERE message_key LIKE :key ORDER BY id",
        key=f"catalog/{slug}/%",
    )
    assert all(row["mandatory"] for row in found)
    return [json.loads(row["body"]) for row in found]


# --- what is there from the start ------------------------------------------------------------------------------------


async def test_the_catalog_is_loaded_and_published(service: Service) -> None:
    async with service.database.transaction() as db:
        tracks = {slug: await find_item(db, slug) for slug in ("dp", "fsd")}
        bundle = await find_item(db, "dp-and-fsd")
        programs = await programs_on_sale(db)
    assert {slug: found and found.money for slug, found in tracks.items()} == {"dp": usd(49_900), "fsd": usd(59_900)}
    for slug, track in tracks.items():
        assert track is not None and len(track.projects) >= 3 and len(track.projects[0].steps) >= 3
        event = (await published(service, slug))[0]
        assert (event["revision"], event["item"]["kind"], len(event["projects"])) == (1, "track", len(track.projects))
    assert bundle is not None and [part.slug for part in bundle.includes] == ["dp", "fsd"]
    assert bundle.saving is not None and bundle.saving.amount > 0
    assert [part["slug"] for part in (await published(service, "dp-and-fsd"))[0]["item"]["includes"]] == ["dp", "fsd"]
    assert {program.kind for program in programs} == {"program"}


async def test_loading_publishes_what_was_never_published(service: Service) -> None:
    """Items whose events the outbox does not have."""
    await service.rows("DELETE FROM outbox_messages WHERE message_key = 'catalog/hvac/1' RETURNING id")
    await loader.load(service.database, loader.checked_in())
    await loader.load(service.database, loader.checked_in())
    assert len(await published(service, "hvac")) >= 1


# --- how it is found -------------------------------------------------------------------------------------------------


async def test_an_item_is_found_by_slug_id_and_external_id(service: Service) -> None:
    shared = f"X {uuid4().hex}"
    course = await made(service, external_id=shared)
    async with service.database.transaction() as db:
        for reference in (course["slug"], course["id"], course["id"].upper(), shared):
            found = await find_item(db, reference)
            assert found is not None and str(found.id) == course["id"], reference
            assert await find_item(db, reference, kinds=("track", "bundle")) is None
            assert await find_item(db, reference, kinds={"course"}) == found
        for nothing in ("", "nothing", str(uuid4()), "a\x00b", "' OR 1=1"):
            assert await find_item(db, nothing) is None
        assert await slug_of(db, course["id"]) == course["slug"]
        assert await slug_of(db, "p-1") is None
    product = await made(service, "product", external_id=shared)
    async with service.database.transaction() as db:
        assert await find_item(db, shared) is None, "two kinds have it: it names none"
        found = await find_item(db, shared, kinds=["product"])
        assert found is not None and found.slug == product["slug"]


async def test_what_is_not_on_sale_is_found_only_on_request(service: Service) -> None:
    slug = (await made(service, active=False))["slug"]
    async with service.database.transaction() as db:
        assert await find_item(db, slug) is None
        assert await find_any_item(db, slug) is not None
        assert await find_any_item(db, slug, kinds=["track"]) is None


# --- how admins keep it ----------------------------------------------------------------------------------------------


async def test_every_change_is_a_revision_and_an_event(service: Service) -> None:
    owner = str(uuid4())
    track = await made(service, "track", projects=PROJECTS, category="code", owner_id=owner)
    assert (track["revision"], track["projects"], track["owner_id"], track["currency"]) == (1, PROJECTS, owner, "usd")
    path = f"{ITEMS}/{track['slug']}"
    plan = {"type": "deposit_installments", "deposit_percent": 20, "installments": 3}
    changed = (await service.admin("PATCH", path, price=123.45, payment_plan=plan, projects=PROJECTS[:1])).json()
    assert (changed["revision"], changed["price"], changed["name"]) == (2, 123.45, "Something")
    assert changed["payment_plan"] == plan | {"interval_days": None}
    same = (await service.admin("PATCH", path, price=123.45)).json()
    assert same["revision"] == 2, "nothing has changed"
    assert (await service.admin("PATCH", path, payment_plan=None)).json()["payment_plan"] is None
    events = await published(service, track["slug"])
    assert [each["revision"] for each in events] == [1, 2, 3]
    assert events[1]["price"] == {"amount": 12_345, "currency": "usd"}
    assert events[1]["projects"] == PROJECTS[:1]
    assert (await service.admin("GET", path)).json()["revision"] == 3


async def test_deleting_takes_it_off_sale(service: Service) -> None:
    slug = (await made(service))["slug"]
    for _ in range(2):
        gone = await service.admin("DELETE", f"{ITEMS}/{slug}")
        assert (gone.status_code, gone.json()["active"], gone.json()["revision"]) == (200, False, 2)
    assert [each["active"] for each in await published(service, slug)] == [True, False]
    back = await service.admin("PATCH", f"{ITEMS}/{slug}", active=True)
    assert (back.json()["active"], back.json()["revision"]) == (True, 3)


async def test_lists_are_filtered_and_paged(service: Service) -> None:
    category, owner = uuid4().hex, str(uuid4())
    kinds = ("course", "product", "service")
    slugs = [(await made(service, kind, category=category, owner_id=owner))["slug"] for kind in kinds]
    await service.admin("DELETE", f"{ITEMS}/{slugs[0]}")

    async def listed(**filters: Any) -> list[str]:
        answer = await service.call("GET", ITEMS, params=filters, headers=bearer("case_manager", uuid4()))
        assert answer.status_code == 200, answer.text
        return [each["slug"] for each in answer.json()["items"]]

    assert await listed(category=category) == slugs[::-1]
    assert await listed(owner_id=owner, active=True) == slugs[:0:-1]
    assert await listed(category=category, kind="product") == [slugs[1]]
    assert await listed(category=category, active=False) == [slugs[0]]
    first = (await service.admin("GET", f"{ITEMS}?category={category}&limit=2")).json()
    rest = (await service.admin("GET", f"{ITEMS}?category={category}&limit=2&cursor={first['next']}")).json()
    assert [each["slug"] for each in first["items"] + rest["items"]] == slugs[::-1] and rest["next"] is None
    assert (await service.admin("GET", f"{ITEMS}?kind=thing")).status_code == 422


@pytest.mark.parametrize("path", [ITEMS, "/api/admin/programs", "/api/admin/sponsors", "/api/admin/promotions"])
async def test_an_unknown_filter_is_refused(service: Service, path: str) -> None:
    answer = await service.admin("GET", f"{path}?pirce=5")
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_parameter")


async def test_a_bundle(service: Service) -> None:
    parts = [(await made(service, "track", price=price))["slug"] for price in (300, 200)]
    bundle = await made(service, "bundle", price=450, includes=parts)
    assert bundle["includes"] == parts
    async with service.database.transaction() as db:
        found = await find_item(db, bundle["slug"], kinds=["bundle"])
    assert found is not None and (found.parts_price, found.saving) == (usd(50_000), usd(5_000))
    assert [enrollment.slug for enrollment in found.as_program().parts] == parts

    renamed = await service.admin("PATCH", f"{ITEMS}/{parts[0]}", name="Renamed")
    assert renamed.status_code == 200
    events = await published(service, bundle["slug"])
    assert [each["revision"] for each in events] == [1, 2], "a change of a part is a change of the bundle"
    assert events[1]["item"]["includes"][0]["name"] == "Renamed"
    await service.admin("PATCH", f"{ITEMS}/{parts[0]}", price=310)
    assert len(await published(service, bundle["slug"])) == 2

    refused = await service.admin("PATCH", f"{ITEMS}/{parts[0]}", currency="eur")
    assert (refused.status_code, refused.json()["code"]) == (422, "prices_required")
    refused = await service.admin("PATCH", f"{ITEMS}/{parts[0]}", currency="eur", price=310)
    assert (refused.status_code, refused.json()["code"]) == (409, "in_a_bundle")
    refused = await service.admin("PATCH", f"{ITEMS}/{bundle['slug']}", currency="eur", price=450)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


async def test_invalid_bundles(service: Service) -> None:
    track, euro = await made(service, "track"), await made(service, "track", currency="eur")
    other = await made(service, "track")
    member = await made(service, "membership", tier="gold")
    bundle = await made(service, "bundle", includes=[track["slug"], other["slug"]])
    for includes, code in (
        ([track["slug"]], "invalid_request"),
        ([], "invalid_request"),
        ([track["slug"], track["slug"]], "invalid_request"),
        ([track["slug"], euro["slug"]], "invalid_request"),
        ([track["slug"], member["slug"]], "invalid_request"),
        ([track["slug"], bundle["slug"]], "invalid_request"),
        ([track["slug"], "no-such-item"], "unknown_item"),
    ):
        body = {"kind": "bundle", "slug": new_slug(), "name": "B", "price": 10, "includes": includes}
        answer = await service.admin("POST", ITEMS, **body)
        assert (answer.status_code, answer.json()["code"]) == (422, code), includes


async def test_a_membership(service: Service) -> None:
    member = await made(service, "membership", price=15, annual_price=150, tier="gold")
    assert (member["tier"], member["annual_price"]) == ("gold", 150)
    changed = await service.admin("PATCH", f"{ITEMS}/{member['slug']}", tier="silver", annual_price=140)
    assert (changed.json()["tier"], changed.json()["annual_price"]) == ("silver", 140)
    assert {each["item"]["slug"] for each in await published(service, member["slug"])} == {"membership"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "membership"},
        {"kind": "thing"},
        {"slug": "membership"},
        {"price": "1e3"},
        {"price": ""},
        {"price": -1},
        {"price": 1_000_000},
        {"tier": "student"},
        {"kind": "service", "projects": PROJECTS},
        {"payment_plan": {"type": "installments"}},
        {"payment_plan": {"type": "subscription", "interval_days": 30}},
        {"total_cost": 0.49},
        {"taught": None},
        {"active": "yes"},
        {"name": "a\x00b"},
        {"more": 1},
    ],
)
async def test_invalid_items(service: Service, wrong: dict[str, Any]) -> None:
    body = {"kind": "course", "slug": new_slug(), "name": "C", "price": 10, **wrong}
    answer = await service.call("POST", ITEMS, json=body, headers=bearer("admin", ADMIN))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    "wrong",
    [
        {"price": None},
        {"price": [1.5]},
        {"name": None},
        {"currency": None},
        {"active": None},
        {"projects": None},
        {"tier": "gold"},
        {"annual_price": 100},
        {"slug": "another"},
        {"kind": "track"},
        {"includes": ["dp", "fsd"]},
    ],
)
async def test_invalid_changes(service: Service, wrong: dict[str, Any]) -> None:
    slug = (await made(service))["slug"]
    answer = await service.call("PATCH", f"{ITEMS}/{slug}", json=wrong, headers=bearer("admin", ADMIN))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert len(await published(service, slug)) == 1


async def test_slugs_are_unique(service: Service) -> None:
    external = f"x-{uuid4().hex}"
    slug = (await made(service, external_id=external))["slug"]
    for fields in ({"slug": slug}, {"slug": new_slug(), "external_id": external}):
        again = await service.admin("POST", ITEMS, kind="course", name="C", price=10, **fields)
        assert (again.status_code, again.json()["code"]) == (409, "already_there")


async def test_an_idempotency_key_creates_one_item(service: Service) -> None:
    headers = bearer("admin", ADMIN) | {"Idempotency-Key": f"k-{uuid4()}"}
    body = {"kind": "course", "slug": new_slug(), "name": "C", "price": 10}
    first = await service.call("POST", ITEMS, json=body, headers=headers)
    again = await service.call("POST", ITEMS, json=body, headers=headers)
    assert (first.status_code, again.status_code, first.json()) == (201, 201, again.json())
    assert (await service.call("POST", ITEMS, json={**body, "price": 1}, headers=headers)).status_code == 422


async def test_programs_are_items_of_one_kind(service: Service) -> None:
    slug = new_slug("program")
    await service.admin("POST", "/api/admin/programs", slug=slug, name="Welding", price=1200)
    found = (await service.admin("GET", f"{ITEMS}/{slug}")).json()
    assert (found["kind"], found["price"], found["amount"], found["revision"]) == ("program", 1200, 120_000, 1)
    await service.admin("PATCH", f"/api/admin/programs/{slug}", price=1300)
    assert [each["price"]["amount"] for each in await published(service, slug)] == [120_000, 130_000]
    listed = {each["slug"] for each in (await service.admin("GET", "/api/admin/programs?limit=200")).json()["items"]}
    assert slug in listed and not listed & {"dp", "dp-and-fsd", "student-membership"}
    answer = await service.admin("PATCH", "/api/admin/programs/dp", price=10)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_program"), "a track is none"


@pytest.mark.parametrize("role", ["student", "case_manager", "specialist", None])
async def test_only_admins_change_items(service: Service, role: str | None) -> None:
    headers = bearer(role, uuid4()) if role else {}
    refused = 401 if role is None else 403
    for method, path in (
        ("POST", ITEMS),
        ("PATCH", f"{ITEMS}/dp"),
        ("DELETE", f"{ITEMS}/dp"),
        ("POST", "/api/admin/payments/products"),
    ):
        answer = await service.call(method, path, json={}, headers=headers)
        assert answer.status_code == refused, path
    for path in (ITEMS, f"{ITEMS}/dp"):
        answer = await service.call("GET", path, headers=headers)
        assert answer.status_code == (200 if role == "case_manager" else refused)


async def test_unknown_items(service: Service) -> None:
    for method in ("GET", "PATCH", "DELETE"):
        answer = await service.call(method, f"{ITEMS}/nothing", json={}, headers=bearer("admin", ADMIN))
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_item")


# --- what everybody sees ---------------------------------------------------------------------------------------------


async def test_the_public_catalog(service: Service) -> None:
    found: dict[str, Any] = {}
    for kind in ("track", "bundle", "membership", "course"):
        page = (await service.call("GET", "/api/catalog/", params={"kind": kind, "limit": 200})).json()
        assert {each["kind"] for each in page["items"]} == {kind}
        found |= {each["slug"]: each for each in page["items"]}
    fsd, bundle, member = found["fsd"], found["dp-and-fsd"], found["career-membership"]
    assert (fsd["price"], fsd["amount"], fsd["currency"], fsd["name"]) == (599, 59_900, "usd", "Full-Stack Developer")
    assert found["dp"]["name"] == "Data Professional"
    assert fsd["first_project"]["title"] == fsd["projects"][0] and len(fsd["first_project"]["steps"]) >= 3
    assert bundle["saving"] == 49_900 + 59_900 - bundle["amount"] > 0
    assert [(part["slug"], part["price"]) for part in bundle["includes"]] == [("dp", 499), ("fsd", 599)]
    assert (member["monthly_price"], member["annual_price"], member["tier"]) == (49, 490, "career")
    assert "owner_id" not in fsd and UUID(fsd["id"])
    assert (await service.call("GET", "/api/catalog?kind=thing")).status_code == 422

    gone = await made(service, "service")
    await service.admin("DELETE", f"{ITEMS}/{gone['slug']}")
    first = (await service.call("GET", "/api/catalog?limit=3")).json()
    assert len(first["items"]) == 3 and first["next"]
    slugs = [each["slug"] for each in (await service.call("GET", "/api/catalog?limit=200")).json()["items"]]
    assert gone["slug"] not in slugs and slugs[:3] == [each["slug"] for each in first["items"]]


async def test_only_programs_can_be_bought_as_programs(service: Service) -> None:
    slug = (await made(service, active=False))["slug"]
    assert (await service.buy(uuid4(), wanted(slug, 100))).status_code == 404
