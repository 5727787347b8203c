"""Registering another system's products, by HTTP and by events, repeatedly and concurrently."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.checkout.service import ADMIN, Service, bearer, wanted
from tests.checkout.test_catalog_items import ITEMS, published
from tests.deliveries import handle

from checkout.catalog.consumers import registrations
from checkout.catalog.registration import slugs
from contracts.checkout import CatalogItemRegistered
from contracts.envelope import BadEnvelope, Envelope, parse
from contracts.registry import EVENT_TYPES
from kit.db.unit_of_work import utc_now
from kit.runtime.failures import Permanent

PRODUCTS = "/api/admin/payments/products"


def new_id(prefix: str = "c") -> str:
    return f"{prefix}-{uuid4().hex[:10]}"


def product(product_id: Any, **fields: Any) -> dict[str, Any]:
    """As the event has it: `price` is minor units."""
    return {
        "product_type": "course",
        "product_id": product_id,
        "product_name": "Python, slowly",
        "price": 19_900,
        "currency": "usd",
        "auto_assign_payment_plan": True,
        **fields,
    }


async def register(service: Service, product_id: Any, **fields: Any) -> Any:
    """By HTTP, where `price` is major units."""
    headers = bearer("admin", ADMIN) | fields.pop("headers", {})
    return await service.call("POST", PRODUCTS, json=product(product_id, **{"price": 199, **fields}), headers=headers)


async def publish_registration(service: Service, product_id: str, *, at: datetime | None = None, **fields: Any) -> None:
    event = CatalogItemRegistered.model_validate(product(product_id, **fields))
    id = f"lms/{uuid4()}"
    await service.deliver(Envelope(id=id, source="lms", subject=product_id, time=at or utc_now(), data=event))


async def rows(service: Service, product_id: str) -> list[dict[str, Any]]:
    return await service.rows("SELECT * FROM items WHERE external_id = :id ORDER BY created_at", id=product_id)


async def test_a_product_is_registered_and_then_updated(service: Service) -> None:
    id = new_id()
    made = await register(service, id)
    assert made.status_code == 201, made.text
    body = made.json()
    assert (body["slug"], body["kind"], body["external_id"], body["price"]) == (id, "course", id, 199)
    assert (body["active"], body["auto_assign_payment_plan"], body["revision"]) == (True, True, 1)
    again = await register(service, id, price=299, product_name="Python", auto_assign_payment_plan=False)
    assert (again.status_code, again.json()["id"]) == (200, body["id"])
    assert (again.json()["price"], again.json()["name"], again.json()["revision"]) == (299, "Python", 2)
    assert again.json()["auto_assign_payment_plan"] is False
    same = await register(service, id, price=299, product_name="Python", auto_assign_payment_plan=False)
    assert (same.status_code, same.json()["revision"]) == (200, 2)
    assert [each["price"]["amount"] for each in await published(service, id)] == [19_900, 29_900]


async def test_http_and_events_register_one_item(service: Service) -> None:
    id, owner = new_id(), uuid4()
    await publish_registration(service, id, category="code", owner_id=owner)
    answer = await register(service, id, price="249.00")
    assert (answer.status_code, answer.json()["category"], answer.json()["owner_id"]) == (200, "code", str(owner))
    await publish_registration(service, id, price=25_900)
    (row,) = await rows(service, id)
    assert (row["price"], row["category"], row["owner_id"], row["revision"]) == (25_900, "code", owner, 3)


async def test_concurrent_registrations_create_one_item(service: Service) -> None:
    id = new_id()
    answers = await asyncio.gather(
        *(register(service, id, price=100 + n) for n in range(8)),
        *(publish_registration(service, id, price=20_000 + n) for n in range(8)),
    )
    (row,) = await rows(service, id)
    codes = [answer.status_code for answer in answers if answer is not None]
    assert set(codes) <= {200, 201} and codes.count(201) <= 1
    events = await published(service, id)
    assert [each["revision"] for each in events] == list(range(1, row["revision"] + 1))
    assert events[-1]["price"]["amount"] == row["price"]


async def test_concurrent_products_with_one_slug(service: Service) -> None:
    id = new_id()
    kinds = ("course", "product", "service", "track", "program")
    await asyncio.gather(*(register(service, id, product_type=kind) for kind in kinds))
    found = await rows(service, id)
    assert {row["kind"] for row in found} == set(kinds)
    slugs = {row["slug"] for row in found}
    assert len(slugs) == 5 and id in slugs and slugs - {id} < {f"{kind}-{id}" for kind in kinds}


async def test_a_slug_of_another_item_is_not_taken(service: Service) -> None:
    for taken in ("dsp", "membership"):
        await service.rows("DELETE FROM items WHERE external_id = :id RETURNING id", id=taken)
        answer = await register(service, taken, price=1)
        assert (answer.status_code, answer.json()["slug"]) == (201, f"course-{taken}")
    assert (await service.admin("GET", f"{ITEMS}/dsp")).json()["price"] == 4325


@pytest.mark.parametrize(
    ("type", "id", "first"),
    [
        ("course", "intro-101", "intro-101"),
        ("course", "Intro 101!", "course-intro-101"),
        ("course", "42", "42"),
        ("service", "a/b_c", "service-a-b-c"),
        ("product", "membership", "product-membership"),
        ("product", "日本", "product"),
    ],
)
def test_slugs_are_derived(type: str, id: str, first: str) -> None:
    found = list(slugs(type, id))
    assert found[0] == first and len(set(found)) == len(found)


def test_slugs_fit_whatever_the_id() -> None:
    for id in ("x" * 200, "-" * 200, "é" * 200, "a-" * 100, "###"):
        for slug in slugs("course", id):
            assert 0 < len(slug) <= 100 and slug.strip("-") == slug


async def test_similar_ids_are_two_products(service: Service) -> None:
    mark = uuid4().hex[:8]
    answers = [await register(service, id) for id in (f"A {mark}", f"a!{mark}", f"A_{mark}")]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert len({answer.json()["slug"] for answer in answers}) == 3


async def test_an_id_may_be_a_number(service: Service) -> None:
    number = uuid4().int % 10**12
    answer = await register(service, number)
    assert (answer.status_code, answer.json()["external_id"]) == (201, str(number))


async def test_our_own_id_selects_our_item(service: Service) -> None:
    made = (await register(service, new_id(), product_type="service")).json()
    answer = await register(service, made["id"], product_type="service", price=5)
    assert (answer.status_code, answer.json()["slug"], answer.json()["price"]) == (200, made["slug"], 5)
    other = await register(service, made["id"], product_type="course")
    assert (other.status_code, other.json()["code"]) == (409, "of_another_type")


@pytest.mark.parametrize(
    "wrong",
    [
        {"price": "1.99 USD"},
        {"price": -1},
        {"price": True},
        {"price": 10**12},
        {"currency": "dollars"},
        {"product_type": "thing"},
        {"product_id": ""},
        {"product_id": 1.5},
        {"product_id": "a\x00b"},
        {"product_name": ""},
        {"auto_assign_payment_plan": "maybe"},
        {"color": "red"},
    ],
)
async def test_invalid_registrations(service: Service, wrong: dict[str, Any]) -> None:
    answer = await register(service, **{"product_id": new_id(), **wrong})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("kind", ["bundle", "membership"])
async def test_bundles_and_memberships_cannot_be_registered(service: Service, kind: str) -> None:
    answer = await register(service, new_id(), product_type=kind)
    assert (answer.status_code, answer.json()["code"]) == (422, "cannot_be_registered")
    id = new_id()
    fields = {"tier": "x"} if kind == "membership" else {"includes": ["dp", "fsd"]}
    made = await service.admin("POST", ITEMS, kind=kind, slug=id, name="M", price=1, external_id=id, **fields)
    assert made.status_code == 201, made.text
    assert (await register(service, id, product_type=kind, price=2)).json()["price"] == 2, "it exists: updated"


async def test_an_idempotency_key_registers_once(service: Service) -> None:
    id, key = new_id(), {"Idempotency-Key": f"k-{uuid4()}"}
    first, again = await register(service, id, headers=key), await register(service, id, headers=key)
    assert (first.status_code, again.status_code, first.json()) == (201, 201, again.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await register(service, id, price=1, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_currency_may_be_uppercase(service: Service) -> None:
    assert (await register(service, new_id(), currency="EUR")).json()["currency"] == "eur"


async def test_a_started_purchase_keeps_its_price(service: Service) -> None:
    id, student = new_id("p"), uuid4()
    await register(service, id, product_type="program", price=1200)
    assert (await service.buy(student, wanted(id, 1200))).status_code == 200
    await register(service, id, product_type="program", price=900, currency="eur")
    await publish_registration(service, id, product_type="program", price=80_000)
    purchase = await service.purchase(student)
    assert (purchase["amount"], purchase["currency"], purchase["state"]) == (120_000, "usd", "session_open")


async def test_an_older_registration_does_not_undo_a_newer_one(service: Service) -> None:
    id, now = new_id(), utc_now()
    await publish_registration(service, id, price=300, at=now)
    await publish_registration(service, id, price=200, at=now - timedelta(minutes=1))
    (row,) = await rows(service, id)
    assert (row["price"], row["revision"]) == (300, 1)


async def test_an_update_does_not_put_back_on_sale_what_an_admin_took_off(service: Service) -> None:
    id = new_id()
    await publish_registration(service, id)
    await service.admin("DELETE", f"{ITEMS}/{id}")
    await publish_registration(service, id, price=100)
    assert (await rows(service, id))[0]["active"] is False
    await publish_registration(service, id, active=True)
    assert (await rows(service, id))[0]["active"] is True


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"product_type": "bundle"}, "cannot_be_registered"),
        ({"product_type": "membership"}, "cannot_be_registered"),
        ({"price": 10**12}, "price"),
        ({"product_id": "a\x00b"}, "cannot be stored"),
        ({"product_name": "a\x00b"}, "cannot be stored"),
    ],
)
async def test_an_invalid_event_is_a_dead_letter(service: Service, wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(Permanent, match=reason):
        await publish_registration(service, **{"product_id": new_id(), **wrong})


async def test_a_part_of_a_bundle_keeps_its_currency(service: Service) -> None:
    ids = [new_id() for _ in range(2)]
    for id in ids:
        await register(service, id)
    bundle = {"kind": "bundle", "slug": new_id(), "name": "B", "price": 1, "includes": ids}
    assert (await service.admin("POST", ITEMS, **bundle)).status_code == 201
    answer = await register(service, ids[0], currency="eur")
    assert (answer.status_code, answer.json()["code"]) == (409, "in_a_bundle")
    with pytest.raises(Permanent, match="in_a_bundle"):
        await publish_registration(service, ids[0], currency="eur")


def test_the_contract_rejects_invalid_events() -> None:
    headers = {
        f"cloudEvents:{name}": value
        for name, value in {
            "id": "1",
            "source": "lms",
            "type": CatalogItemRegistered.type,
            "subject": "x",
            "time": utc_now().isoformat(),
        }.items()
    }
    for price in (b"10.0", b"10.5", b'"10"', b"-1", b"null"):
        body = b'{"product_type":"course","product_id":"x","product_name":"X","currency":"usd","price":%s}' % price
        with pytest.raises(BadEnvelope):
            parse(headers, body, EVENT_TYPES)


async def test_the_published_event_has_its_cause(service: Service) -> None:
    id = new_id()
    event = CatalogItemRegistered.model_validate(product(id))
    envelope = Envelope(id=f"lms/{id}", source="lms", subject="lms-subject", time=utc_now(), data=event)
    async with service.database.transaction() as db:
        await handle(db, registrations(), "checkout", envelope)
    (row,) = await service.rows("SELECT headers FROM outbox_messages WHERE message_key = :key", key=f"catalog/{id}/1")
    assert row["headers"]["cloudEvents:causationid"] == f"lms/{id}"
    assert row["headers"]["cloudEvents:subject"] == id
    assert UUID(str((await rows(service, id))[0]["id"]))
