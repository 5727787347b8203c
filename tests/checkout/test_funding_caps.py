"""What a sponsor has authorized bounds what it is invoiced for, and an invoice can be mailed again."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from tests.checkout.service import CASE_MANAGER, Service, bearer


def _cap(amount: int, number: str = "A-1", currency: str = "usd") -> dict[str, Any]:
    return {"authorizationNumber": number, "cap": {"amount": amount, "currency": currency}}


async def test_a_price_above_the_cap_is_refused_and_changes_nothing(service: Service) -> None:
    student = uuid4()
    for wrong in (_cap(432_499), _cap(500_000, currency="eur")):
        refused = await service.fund(student, **wrong)
        assert (refused.status_code, refused.json()["code"]) == (409, "over_cap"), refused.text
    assert await service.rows("SELECT 1 FROM purchases WHERE student_id = :s", s=student) == []
    assert await service.rows("SELECT 1 FROM caseload WHERE student_id = :s", s=student) == []
    assert (await service.fund(student, **_cap(432_500))).status_code == 200
    assert (await service.invoice(student)).amount_due == 432_500, "a cap is no price"
    lowered = await service.fund(student, **_cap(100))
    assert lowered.json()["code"] == "over_cap", "also where the invoice exists already"


async def test_a_cap_bounds_all_items_of_an_authorization_number(service: Service) -> None:
    student = uuid4()
    assert (await service.fund(student, **_cap(432_500))).status_code == 200
    second = await service.fund(student, slug="barber-apprenticeship", **_cap(900_000))
    assert (second.json()["code"], second.json()["amount"]) == ("over_cap", 432_500 + 489_000)
    other = await service.fund(student, slug="barber-apprenticeship", **_cap(900_000, number="A-2"))
    assert other.status_code == 200, "another authorization"


async def test_a_cap_holds_for_requests_that_do_not_state_it(service: Service) -> None:
    student, same_number = uuid4(), {"authorizationNumber": "A-1"}
    assert (await service.fund(student, **_cap(500_000))).status_code == 200
    refused = await service.fund(student, slug="barber-apprenticeship", **same_number)
    assert (refused.status_code, refused.json()["code"]) == (409, "over_cap"), refused.text
    by_other_route = await service.call(
        "POST",
        "/api/enrollments",
        json={
            "user_id": str(student),
            "product_id": "barber-apprenticeship",
            "funding_source": "WIOA",
            "authorization_number": "A-1",
        },
        headers=bearer("case_manager", CASE_MANAGER),
    )
    assert (by_other_route.status_code, by_other_route.json()["code"]) == (409, "over_cap"), by_other_route.text
    too_low = await service.fund(student, slug="barber-apprenticeship", **_cap(600_000))
    assert too_low.json()["code"] == "over_cap"
    stored = await service.rows("SELECT cap FROM authorizations WHERE student_id = :s", s=student)
    assert stored == [{"cap": 500_000}], "what was refused is not stored"
    assert (await service.fund(student, slug="barber-apprenticeship", **_cap(921_500))).status_code == 200
    assert (await service.fund(uuid4(), slug="barber-apprenticeship", **same_number)).status_code == 200


async def test_two_items_at_the_same_time_do_not_both_fit_under_a_cap(service: Service) -> None:
    student = uuid4()
    answers = await asyncio.gather(
        service.fund(student, **_cap(500_000)), service.fund(student, slug="barber-apprenticeship", **_cap(500_000))
    )
    assert sorted(each.status_code for each in answers) == [200, 409], [each.text for each in answers]


@pytest.mark.parametrize(
    "wrong",
    [
        {"cap": {"amount": 500_000, "currency": "usd"}},
        _cap(0),
        _cap(-1),
        {"authorizationNumber": "A-1", "cap": {"amount": 1.5, "currency": "usd"}},
        {"authorizationNumber": "A-1", "cap": {"amount": 500_000}},
    ],
)
async def test_a_cap_is_a_positive_amount_of_an_authorization_number(service: Service, wrong: dict[str, Any]) -> None:
    refused = await service.fund(uuid4(), **wrong)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


async def test_the_invoice_is_mailed_again(service: Service) -> None:
    student = uuid4()
    first = (await service.fund(student)).json()
    path = f"/api/funding/{(await service.purchase(student))['id']}/send"
    by_case_manager = bearer("case_manager", CASE_MANAGER)
    before = await _mailed(service, first["sessionId"])
    again = await service.call("POST", path, headers=by_case_manager)
    assert (again.status_code, again.json()) == (200, first), again.text
    assert await _mailed(service, first["sessionId"]) == before + 1
    assert (await service.call("POST", path, headers=bearer("case_manager", uuid4()))).status_code == 404
    await service.sandbox.operate(f"/invoices/{first['sessionId']}/pay")
    for _ in range(2):  # before and after its event
        refused = await service.call("POST", path, headers=by_case_manager)
        assert (refused.status_code, refused.json()["code"]) == (409, "nothing_due"), refused.text
        await service.deliver_stripe_events(student)


async def _mailed(service: Service, invoice_id: str) -> int:
    """How often Stripe has sent it."""
    events = await service.sandbox.api.events.list_async({"type": "invoice.sent", "limit": 100})
    return sum(each.data.object["id"] == invoice_id for each in events.data)
