"""Less than the price: visible, payable, and an admin can accept it, once."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from tests.checkout.external_steps import enveloped, events_about, external_page, external_plan
from tests.checkout.payment_steps import payments
from tests.checkout.service import ADMIN, Service, bearer, wanted

from checkout.installments.transitions import CLOSE
from contracts.registry import EVENT_TYPES

ACCEPTED = "purchase.accepted.v1"
PRICE, PAID = 57_500, 7_500
MISSING = PRICE - PAID


async def _underpaid(service: Service, **metadata: str) -> UUID:
    """A student who paid 75.00 of 575.00 on another system's page."""
    student = uuid4()
    session = await external_page(service, {"student_id": str(student), "program_slug": "cpr", **metadata}, amount=PAID)
    await service.deliver(*await events_about(service, session))
    return student


async def _accept(service: Service, id: object, *, role: str = "admin") -> httpx.Response:
    path = f"/api/admin/purchases/{id}/accept"
    return await service.call("POST", path, json={"reason": "a scholarship"}, headers=bearer(role, ADMIN))


async def _pay_rest(service: Service, student: UUID, id: object) -> httpx.Response:
    return await service.call("POST", f"/api/enrollments/{id}/pay-remaining", headers=bearer("student", student))


async def _deliver_own(service: Service, student: UUID, type: str) -> None:
    for event in await service.published(student, type):
        data = EVENT_TYPES[type].model_validate(event)
        await service.deliver(enveloped(data, id=f"{event['purchase_id']}/{event['amount']['amount']}/{type}"))


async def _listed(service: Service, caller: dict[str, str], **query: str) -> list[dict[str, Any]]:
    answer = await service.call("GET", "/api/purchases", params=query, headers=caller)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def test_its_state_and_reason_are_visible(service: Service) -> None:
    student = await _underpaid(service)
    purchase = await service.purchase(student)
    assert (purchase["state"], purchase["state_reason"], purchase["shortfall"]) == ("processing", "underpaid", MISSING)
    (own,) = await _listed(service, bearer("student", student))
    assert (own["reason"], own["shortfall"], own["due"], own["paid"]) == ("underpaid", MISSING, MISSING, PAID)
    found = await _listed(service, bearer("admin", ADMIN), reason="underpaid", user_id=str(student))
    assert [each["id"] for each in found] == [str(purchase["id"])]
    assert await _listed(service, bearer("admin", ADMIN), reason="past_due", user_id=str(student)) == []
    overview = await service.call("GET", f"/api/enrollments/{purchase['id']}/payment", headers=bearer("admin", ADMIN))
    assert (overview.json()["reason"], overview.json()["due"]) == ("underpaid", MISSING)


async def test_buying_it_again_is_refused_with_what_to_do(service: Service) -> None:
    student = await _underpaid(service)
    answer = await service.buy(student, wanted("cpr", 575))
    assert (answer.status_code, answer.json()["code"]) == (409, "underpaid")
    assert "pay-remaining" in answer.json()["detail"]


async def test_accepted_once(service: Service) -> None:
    student = await _underpaid(service)
    id = (await service.purchase(student))["id"]
    for role in ("student", "case_manager"):
        assert (await _accept(service, id, role=role)).status_code == 403
    for _ in range(2):
        answer = await _accept(service, id)
        assert (answer.status_code, answer.json()["amount"]) == (200, MISSING), answer.text
    (event,) = await service.published(student, ACCEPTED)
    assert (event["amount"]["amount"], event["purchase_id"]) == (MISSING, str(id))
    await _deliver_own(service, student, ACCEPTED)
    purchase = await service.purchase(student)
    assert (purchase["state"], purchase["state_reason"], purchase["shortfall"]) == ("paid", None, None)
    assert (purchase["accepted"], purchase["accepted_by"], purchase["acceptance_reason"]) == (
        MISSING,
        f"admin:{ADMIN}",
        "a scholarship",
    )
    assert (await _accept(service, id)).json()["amount"] == MISSING
    assert len(await service.published(student, ACCEPTED)) == 1


async def test_what_is_paid_in_full_has_nothing_to_accept(service: Service) -> None:
    student = uuid4()
    session = await external_page(service, {"student_id": str(student), "program_slug": "cpr"}, amount=PRICE)
    await service.deliver(*await events_about(service, session))
    answer = await _accept(service, (await service.purchase(student))["id"])
    assert (answer.status_code, answer.json()["code"]) == (409, "not_underpaid")
    unknown = await _accept(service, uuid4())
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_purchase")


async def test_the_student_pays_the_rest(service: Service) -> None:
    student = await _underpaid(service)
    id = (await service.purchase(student))["id"]
    first = await _pay_rest(service, student, id)
    assert (first.status_code, first.json()["amount"]) == (200, MISSING), first.text
    assert (await _pay_rest(service, student, id)).json() == first.json(), "one intent"
    intent = first.json()["payment_intent_id"]
    await service.sandbox.operate(f"/payment_intents/{intent}/pay")
    late = await _pay_rest(service, student, id)
    assert (late.status_code, late.json()["code"]) == (409, "payment_in_progress")
    await service.deliver(*await events_about(service, intent))
    purchase = await service.purchase(student)
    assert (purchase["state"], purchase["shortfall"]) == ("paid", None)
    assert sorted(each["amount"] for each in await payments(service, student)) == [PAID, MISSING]
    assert len(await service.published(student, "receipt.issued.v1")) == 2
    over = await _pay_rest(service, student, id)
    assert (over.status_code, over.json()["code"]) == (409, "nothing_due")


async def test_accepting_ends_the_intent_for_the_rest(service: Service) -> None:
    student = await _underpaid(service)
    id = (await service.purchase(student))["id"]
    intent = (await _pay_rest(service, student, id)).json()["payment_intent_id"]
    assert (await _accept(service, id)).status_code == 200
    await _deliver_own(service, student, ACCEPTED)
    await service.perform(student, CLOSE)
    assert (await service.sandbox.api.payment_intents.retrieve_async(intent)).status == "canceled"


async def test_a_sponsors_rest_is_the_sponsors(service: Service) -> None:
    student = await _underpaid(service, funding_source="WIOA")
    id = (await service.purchase(student))["id"]
    answer = await _pay_rest(service, student, id)
    assert (answer.status_code, answer.json()["code"]) == (409, "sponsor_pays")


@pytest.mark.parametrize("discount", [7_500, 57_500])
async def test_a_discount_of_stripes_page_is_no_shortfall(service: Service, discount: int) -> None:
    student = uuid4()
    coupon = await service.sandbox.api.coupons.create_async(
        {"amount_off": discount, "currency": "usd", "duration": "once"}
    )
    session = await service.sandbox.api.checkout.sessions.create_async(
        {
            "mode": "payment",
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {"currency": "usd", "unit_amount": PRICE, "product_data": {"name": "Theirs"}},
                }
            ],
            "discounts": [{"coupon": coupon.id}],
            "metadata": {"student_id": str(student), "program_slug": "cpr"},
            "success_url": "https://theirs.example/done",
            "cancel_url": "https://theirs.example/back",
        }
    )
    await service.sandbox.pay(session.id)
    await service.deliver(*await events_about(service, session.id))
    purchase = await service.purchase(student)
    assert (purchase["state"], purchase["amount"], purchase["list_price"]) == ("paid", PRICE - discount, PRICE)


async def test_an_external_plan_displays_what_stripe_collects(service: Service) -> None:
    student = uuid4()
    purchase = await external_plan(service, student)
    headers = bearer("student", student)
    overview = (await service.call("GET", f"/api/enrollments/{purchase['id']}/payment", headers=headers)).json()
    assert overview["collected_by"] == "stripe"
    assert [each["status"] for each in overview["schedules"]] == ["paid", "open", "open", "open"]
    assert sum(each["amount"] for each in overview["schedules"]) == 489_000
    assert (overview["paid"], overview["due"], overview["next_due"]["amount"]) == (122_250, 366_750, 122_250)
    (listed,) = await _listed(service, headers)
    assert (listed["collected_by"], listed["due"], listed["plan"]) == ("stripe", 366_750, "installments")
    assert listed["next_due_at"] is not None
    rest = await _pay_rest(service, student, purchase["id"])
    assert (rest.status_code, rest.json()["code"]) == (409, "nothing_due"), "it is never charged beside Stripe"
