"""GET /api/prices/{item} and GET /api/checkout-sessions/{id}: what is displayed before and after paying."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from tests.checkout.service import ADMIN, Service, bearer, wanted

BARBER = "barber-apprenticeship"


async def price(service: Service, item: str = BARBER, headers: dict[str, str] | None = None, **query: str) -> Any:
    return await service.call("GET", f"/api/prices/{item}", params=query, headers=headers)


async def test_a_price_is_the_catalogs_and_due_at_once(service: Service) -> None:
    found = (await price(service)).json()
    assert (found["price"], found["subtotal"], found["discount"], found["total"]) == (4890.0, 489_000, 0, 489_000)
    assert [(each["kind"], each["amount"]) for each in found["installments"]] == [("full", 489_000)]


async def test_a_plan_is_previewed_as_it_is_sold(service: Service) -> None:
    student = uuid4()
    found = (await price(service, payment_type="plan")).json()
    assert sum(each["amount"] for each in found["installments"]) == found["total"]
    assert (await service.buy(student, wanted(paymentType="plan"))).status_code == 200
    purchase = await service.purchase(student)
    sold = await service.call("GET", f"/api/enrollments/{purchase['id']}/payment", headers=bearer("student", student))
    schedules = sold.json()["schedules"]
    assert [each["amount"] for each in schedules] == [each["amount"] for each in found["installments"]]
    assert [each["due_at"][:10] for each in schedules] == [each["due_at"][:10] for each in found["installments"]]


async def test_a_code_is_applied_for_guests_and_students(service: Service) -> None:
    code = f"TEN{uuid4().hex[:8].upper()}"
    made = await service.call(
        "POST", "/api/admin/promotions", json={"code": code, "percent_off": 10}, headers=bearer("admin", ADMIN)
    )
    assert made.status_code == 201, made.text
    for headers in (None, bearer("student", uuid4())):
        found = (await price(service, headers=headers, promotion_code=code.lower(), payment_type="plan")).json()
        assert (found["discount"], found["total"]) == (48_900, 440_100)
        assert sum(each["amount"] for each in found["installments"]) == 440_100


async def test_what_cannot_be_priced_is_refused_with_the_reason(service: Service) -> None:
    unknown = await price(service, "no-such-item")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_item")
    code = await price(service, promotion_code="NOSUCHCODE")
    assert (code.status_code, code.json()["code"]) == (404, "unknown_promotion")
    track = await price(service, "dp", payment_type="plan")
    assert (track.status_code, track.json()["code"]) == (422, "no_plan")
    yearly = await price(service, BARBER, interval="year")
    assert (yearly.status_code, yearly.json()["code"]) == (422, "no_annual_price")


async def test_a_guests_session_is_read_without_a_token_and_follows_the_event(service: Service) -> None:
    answer = await service.call(
        "POST",
        "/api/create-checkout-session",
        json={"programSlug": BARBER, "price": 4890, "paymentType": "full"},
        headers={"Idempotency-Key": str(uuid4())},
    )
    session = answer.json()["url"].rsplit("/", 1)[-1]
    path = f"/api/checkout-sessions/{session}"
    before = (await service.call("GET", path)).json()
    assert (before["status"], before["product"], before["amount"], before["paid"]) == (
        "awaiting_payment",
        BARBER,
        489_000,
        0,
    )
    assert not {"student_id", "email"} & before.keys()
    await service.sandbox.pay(session)
    assert (await service.call("GET", path)).json()["status"] == "awaiting_payment"  # Stripe's page is no proof


async def test_no_other_purchase_is_found_by_a_session_id(service: Service) -> None:
    assert (await service.buy(uuid4())).status_code == 200
    for session in ("cs_test_" + 20 * "a", "cs_test_" + 20 * "_"):
        answer = await service.call("GET", f"/api/checkout-sessions/{session}")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_session")
    assert (await service.call("GET", "/api/checkout-sessions/%25")).status_code == 422
