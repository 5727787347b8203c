"""Promotion codes: the admin routes, the price with a code, and referral codes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.checkout.service import ADMIN, Service, bearer

from checkout.catalog.promotion_repository import quote, redeem, reserve
from checkout.catalog.repository import find_item
from kit.db.unit_of_work import utc_now

PROMOTIONS = "/api/admin/promotions"
REFERRAL = "/api/referral-code"


def new_code() -> str:
    return f"SPRING-{uuid4().hex[:8].upper()}"


async def made(service: Service, **terms: Any) -> dict[str, Any]:
    body = {"code": new_code(), **({} if "amount_off" in terms else {"percent_off": 25}), **terms}
    answer = await service.admin("POST", PROMOTIONS, **body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def asked(service: Service, code: str, item: str = "fsd", student: UUID | None = None, **query: str) -> Any:
    headers = bearer("student", student or uuid4())
    return await service.call("GET", f"/api/promotions/{code}", params={"item": item, **query}, headers=headers)


async def use(service: Service, code: str, student: UUID) -> UUID:
    purchase = uuid4()
    async with service.app.state.database.transaction_of(student_id=student, role="student") as db:
        item = await find_item(db, "fsd")
        assert item is not None
        quoted = await quote(db, item, item.money, code, student_id=student, at=utc_now())
        await reserve(db, quoted, purchase_id=purchase, student_id=student, at=utc_now())
    return purchase


# --- what admins keep ------------------------------------------------------------------------------------------------


async def test_a_code_is_created_read_and_changed(service: Service) -> None:
    until = (utc_now() + timedelta(days=7)).isoformat()
    made_ = await made(service, kinds=["track"], items=["dp-and-fsd"], valid_until=until, most_uses=9)
    assert (made_["percent_off"], made_["amount_off"], made_["kinds"], made_["items"]) == (
        25,
        None,
        ["track"],
        ["dp-and-fsd"],
    )
    assert (made_["uses"], made_["active"], made_["referrer_id"], made_["most_uses"]) == (0, True, None, 9)
    path = f"{PROMOTIONS}/{made_['code'].lower()}"
    assert (await service.admin("GET", path)).json() == made_
    changed = await service.admin("PATCH", path, active=False, kinds=None, most_uses=1)
    assert changed.status_code == 200, changed.text
    body = changed.json()
    assert (body["active"], body["kinds"], body["most_uses"], body["percent_off"]) == (False, None, 1, 25)
    fixed = (await service.admin("PATCH", path, percent_off=None, amount_off=500, currency="usd")).json()
    assert (fixed["percent_off"], fixed["amount_off"], fixed["currency"]) == (None, 500, "usd")
    inactive = (await service.admin("GET", f"{PROMOTIONS}?active=false&limit=200")).json()["items"]
    assert made_["code"] in {each["code"] for each in inactive}
    active = (await service.admin("GET", f"{PROMOTIONS}?active=true&limit=200")).json()["items"]
    assert made_["code"] not in {each["code"] for each in active}


async def test_codes_are_uppercase(service: Service) -> None:
    code = new_code()
    answer = await service.admin("POST", PROMOTIONS, code=f" {code.lower()} ", percent_off=5)
    assert answer.json()["code"] == code
    again = await service.admin("POST", PROMOTIONS, code=code, percent_off=5)
    assert (again.status_code, again.json()["code"]) == (409, "already_there")


@pytest.mark.parametrize(
    "wrong",
    [
        {"percent_off": None},
        {"percent_off": 0},
        {"percent_off": 101},
        {"percent_off": 10.0},
        {"percent_off": "10"},
        {"amount_off": 500},
        {"percent_off": None, "amount_off": 500},
        {"percent_off": None, "amount_off": 5.5, "currency": "usd"},
        {"percent_off": None, "amount_off": 0, "currency": "usd"},
        {"currency": "USD"},
        {"kinds": []},
        {"kinds": ["thing"]},
        {"items": []},
        {"valid_from": "2026-01-01T00:00:00"},
        {"valid_from": "2026-01-02T00:00:00Z", "valid_until": "2026-01-01T00:00:00Z"},
        {"most_uses": 0},
        {"most_per_student": 1.5},
        {"code": "no spaces"},
        {"code": ""},
        {"code": 5},
        {"uses": 3},
        {"referrer_id": str(uuid4())},
    ],
)
async def test_invalid_promotions(service: Service, wrong: dict[str, Any]) -> None:
    body = {"code": new_code(), "percent_off": 10, **wrong}
    answer = await service.call("POST", PROMOTIONS, json=body, headers=bearer("admin", ADMIN))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    "wrong", [{"percent_off": None}, {"amount_off": 100}, {"active": None}, {"code": "OTHER"}, {"kinds": []}]
)
async def test_invalid_changes(service: Service, wrong: dict[str, Any]) -> None:
    path = f"{PROMOTIONS}/{(await made(service))['code']}"
    answer = await service.call("PATCH", path, json=wrong, headers=bearer("admin", ADMIN))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_it_names_existing_items(service: Service) -> None:
    answer = await service.admin("POST", PROMOTIONS, code=new_code(), percent_off=5, items=["fsd", "nothing"])
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_item")
    path = f"{PROMOTIONS}/{(await made(service))['code']}"
    answer = await service.admin("PATCH", path, items=["nothing"])
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_item")


async def test_an_idempotency_key_creates_one_code(service: Service) -> None:
    headers, body = bearer("admin", ADMIN) | {"Idempotency-Key": f"k-{uuid4()}"}, {"code": new_code(), "percent_off": 5}
    first = await service.call("POST", PROMOTIONS, json=body, headers=headers)
    again = await service.call("POST", PROMOTIONS, json=body, headers=headers)
    assert (first.status_code, again.status_code, first.json()) == (201, 201, again.json())


async def test_redemptions_are_listed(service: Service) -> None:
    code, students = (await made(service))["code"], [uuid4() for _ in range(3)]
    purchases = [await use(service, code, student) for student in students]
    async with service.database.transaction() as db:
        await redeem(db, purchases[0], utc_now())
    path = f"{PROMOTIONS}/{code}/redemptions"
    first = (await service.admin("GET", f"{path}?limit=2")).json()
    rest = (await service.admin("GET", f"{path}?cursor={first['next']}")).json()
    listed = first["items"] + rest["items"]
    assert [each["purchase_id"] for each in listed] == [str(each) for each in purchases[::-1]]
    assert [each["status"] for each in listed] == ["reserved", "reserved", "redeemed"]
    assert (listed[0]["student_id"], listed[0]["amount"], listed[0]["currency"]) == (str(students[2]), 14_975, "usd")
    assert (await service.admin("GET", f"{PROMOTIONS}/{code}")).json()["uses"] == 3


async def test_unknown_codes(service: Service) -> None:
    for method, path in (("GET", ""), ("PATCH", ""), ("GET", "/redemptions")):
        answer = await service.call(method, f"{PROMOTIONS}/NOTHING{path}", json={}, headers=bearer("admin", ADMIN))
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_promotion")


@pytest.mark.parametrize("role", ["student", "case_manager", "specialist", None])
async def test_only_admins_change_codes(service: Service, role: str | None) -> None:
    headers = bearer(role, uuid4()) if role else {}
    for method, path in (("GET", ""), ("POST", ""), ("GET", "/X"), ("PATCH", "/X"), ("GET", "/X/redemptions")):
        answer = await service.call(method, f"{PROMOTIONS}{path}", json={}, headers=headers)
        assert answer.status_code == (403 if role else 401), (method, path)


# --- what students ask -----------------------------------------------------------------------------------------------


async def test_the_price_with_a_code(service: Service) -> None:
    code = (await made(service))["code"]
    answer = await asked(service, code.lower())
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"subtotal": 59_900, "discount": 14_975, "total": 44_925, "currency": "usd"}
    bundle = (await asked(service, code, "dp-and-fsd")).json()
    assert bundle["subtotal"] - bundle["discount"] == bundle["total"] and bundle["subtotal"] == 89_900
    month = (await asked(service, code, "career-membership")).json()
    year = (await asked(service, code, "career-membership", interval="year")).json()
    assert (month["subtotal"], year["subtotal"]) == (4_900, 49_000)
    fixed = (await made(service, amount_off=1_000, currency="usd"))["code"]
    assert (await asked(service, fixed)).json()["total"] == 58_900


async def test_refusals_say_what_to_do(service: Service) -> None:
    student, now = uuid4(), utc_now()
    used_up, mine = await made(service, most_uses=1), await made(service, most_per_student=1)
    await use(service, used_up["code"], uuid4())
    async with service.database.transaction() as db:
        await redeem(db, await use(service, mine["code"], student), now)
    off = await made(service, active=False)
    later = await made(service, valid_from=(now + timedelta(days=1)).isoformat())
    over = await made(service, valid_until=(now - timedelta(days=1)).isoformat())
    bundles, euros = await made(service, kinds=["bundle"]), await made(service, amount_off=100, currency="eur")
    for promotion, code in (
        (off, "promotion_inactive"),
        (later, "promotion_not_yet"),
        (over, "promotion_over"),
        (bundles, "promotion_not_for_this"),
        (euros, "promotion_currency_mismatch"),
        (used_up, "promotion_used_up"),
        (mine, "promotion_used_by_you"),
    ):
        answer = await asked(service, promotion["code"], student=student)
        assert (answer.status_code, answer.json()["code"]) == (409, code)
        assert "Buy without it" in answer.json()["detail"]
    for code, item, problem in (
        ("NOTHING", "fsd", "unknown_promotion"),
        (mine["code"], "nothing", "unknown_item"),
    ):
        answer = await asked(service, code, item)
        assert (answer.status_code, answer.json()["code"]) == (404, problem)
    assert (await asked(service, mine["code"], "dp", interval="year")).json()["code"] == "no_annual_price"
    assert (await service.call("GET", f"/api/promotions/{mine['code']}?item=fsd")).status_code == 401


# --- a student's own code --------------------------------------------------------------------------------------------


async def test_a_referral_code_is_made_once_and_is_for_others(service: Service) -> None:
    student, friend = uuid4(), uuid4()
    headers = bearer("student", student)
    none = await service.call("GET", REFERRAL, headers=headers)
    assert (none.status_code, none.json()["code"]) == (404, "no_referral_code")
    answers = await asyncio.gather(*(service.call("POST", REFERRAL, headers=headers) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 201]
    assert len({answer.json()["code"] for answer in answers}) == 1
    mine = answers[0].json()
    assert (mine["percent_off"], mine["uses"], mine["active"], len(mine["code"])) == (10, 0, True, 10)

    own = await asked(service, mine["code"], student=student)
    assert (own.status_code, own.json()["code"]) == (409, "promotion_own_referral")
    assert (await asked(service, mine["code"], student=friend)).json()["discount"] == 5_990
    async with service.database.transaction() as db:
        await redeem(db, await use(service, mine["code"], friend), utc_now())
    again = await asked(service, mine["code"], student=friend)
    assert again.json()["code"] == "promotion_used_by_you", "once for each of the others"
    assert (await service.call("GET", REFERRAL, headers=headers)).json()["uses"] == 1
    view = (await service.admin("GET", f"{PROMOTIONS}/{mine['code']}")).json()
    assert view["referrer_id"] == str(student)
    off = await service.admin("PATCH", f"{PROMOTIONS}/{mine['code']}", active=False)
    assert off.status_code == 200
    assert (await service.call("POST", REFERRAL, headers=headers)).json()["active"] is False


async def test_two_students_have_two_codes(service: Service) -> None:
    app = service.app_with(referral_percent=15)
    answers = [await service.call("POST", REFERRAL, app=app, headers=bearer("student", uuid4())) for _ in range(2)]
    assert [answer.json()["percent_off"] for answer in answers] == [15, 15]
    assert answers[0].json()["code"] != answers[1].json()["code"]


@pytest.mark.parametrize("role", ["case_manager", "specialist", "admin", None])
async def test_referral_codes_are_for_students(service: Service, role: str | None) -> None:
    headers = bearer(role, uuid4()) if role else {}
    for method in ("GET", "POST"):
        assert (await service.call(method, REFERRAL, headers=headers)).status_code == (403 if role else 401)
