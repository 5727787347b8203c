"""Buying a track: an intent for the front end's own form, or a page of Stripe's."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from tests.checkout.sandbox import metadata_of
from tests.checkout.service import FRONTEND, Service, bearer

from checkout.purchases.jobs import INTENT_EXPIRY
from checkout.purchases.student_repository import save_customer
from kit.db.unit_of_work import utc_now

CREATE_PAYMENT = "/api/payments/create-payment/"
CREATE_SESSION = "/api/payments/create-checkout-session/"
CONFIRM = "/api/payments/confirm-payment"


async def post(service: Service, path: str, student: UUID, body: dict[str, Any], **more: Any) -> httpx.Response:
    headers = bearer("student", student, email="ada@example.org", name="Ada") | more.pop("headers", {})
    return await service.call("POST", path, json=body, headers=headers, **more)


async def pay(service: Service, intent_id: str, **choice: Any) -> dict[str, Any]:
    return await service.sandbox.operate(f"/payment_intents/{intent_id}/pay", **choice)


async def test_an_intent_for_a_track(service: Service) -> None:
    student = uuid4()
    answer = await post(service, CREATE_PAYMENT, student, {"track": "DP"})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    intent = await service.sandbox.api.payment_intents.retrieve_async(body["paymentIntentId"])
    assert body == {
        "clientSecret": intent.client_secret,
        "paymentIntentId": intent.id,
        "amount": 49_900,
        "currency": "usd",
        "publishableKey": "pk_test_checkout",
    }
    purchase = await service.purchase(student)
    assert (purchase["state"], purchase["payment_flow"], purchase["item_kind"]) == (
        "awaiting_payment",
        "intent",
        "track",
    )
    assert metadata_of(intent)["program_kind"] == "track"
    assert "ada@example.org" not in str(metadata_of(intent))
    (created,) = await service.published(student, "purchase.created.v1")
    assert created["checkout_url"] == service.app.state.context.pay_link(purchase["id"])

    assert (await pay(service, intent.id))["status"] == "succeeded"
    await service.deliver_stripe_events(student)
    assert (await service.purchase(student))["state"] == "paid"
    again = await post(service, CREATE_PAYMENT, student, {"track": "dp"})
    assert (again.status_code, again.json()["code"]) == (409, "payment_in_progress")


async def test_the_displayed_amount(service: Service) -> None:
    answer = await post(service, CREATE_PAYMENT, uuid4(), {"track": "dp", "amount": 49_900, "currency": "USD"})
    assert (answer.status_code, answer.json()["amount"]) == (200, 49_900)


async def test_another_price_or_currency_is_refused(service: Service) -> None:
    student = uuid4()
    for amount in (1, 499):  # 499 is the price in major units
        wrong = await post(service, CREATE_PAYMENT, student, {"track": "dp", "amount": amount})
        assert (wrong.status_code, wrong.json()["code"]) == (409, "price_mismatch")
        assert (wrong.json()["price"], wrong.json()["amount"]) == (499, 49_900)
    for other in (499.00, 499.5, "49900", -1):
        invalid = await post(service, CREATE_PAYMENT, student, {"track": "dp", "amount": other})
        assert (invalid.status_code, invalid.json()["code"]) == (422, "invalid_request"), other
    euros = await post(service, CREATE_PAYMENT, student, {"track": "dp", "amount": 49_900, "currency": "eur"})
    assert (euros.status_code, euros.json()["code"], euros.json()["currency"]) == (409, "currency_mismatch", "usd")
    assert await service.purchases(student) == []


async def test_unknown_tracks_and_callers(service: Service) -> None:
    assert (await service.call("POST", CREATE_PAYMENT, json={"track": "dp"})).status_code == 401
    for track in ("nothing", "barber-apprenticeship", "student-membership"):
        answer = await post(service, CREATE_PAYMENT, uuid4(), {"track": track})
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_track")
    assert (await post(service, CREATE_PAYMENT, uuid4(), {})).status_code == 422


async def test_the_same_request_twice_is_one_intent(service: Service) -> None:
    student = uuid4()
    answers = await asyncio.gather(*(post(service, CREATE_PAYMENT, student, {"track": "fsd"}) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["paymentIntentId"] for answer in answers}) == 1
    assert len(await service.purchases(student)) == 1
    rows = await service.rows("SELECT status FROM payments WHERE student_id = :student", student=student)
    assert [row["status"] for row in rows] == ["requires_payment"]
    assert len(await service.published(student, "purchase.created.v1")) == 1


async def test_an_idempotency_key_belongs_to_one_request(service: Service) -> None:
    student, key = uuid4(), {"Idempotency-Key": f"track-{uuid4()}"}
    first = await post(service, CREATE_PAYMENT, student, {"track": "dp"}, headers=key)
    replayed = await post(service, CREATE_PAYMENT, student, {"track": "dp"}, headers=key)
    assert (replayed.json(), replayed.headers["idempotent-replayed"]) == (first.json(), "true")
    other = await post(service, CREATE_PAYMENT, student, {"track": "fsd"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_lost_answer(service: Service) -> None:
    student = uuid4()
    await service.create_customer(student)
    await service.sandbox.faults(lose_answers=1)
    app = service.app_with(stripe_retries=0)
    headers = bearer("student", student)
    lost = await service.call("POST", CREATE_PAYMENT, app=app, json={"track": "dp"}, headers=headers)
    assert (lost.status_code, lost.json()["code"]) == (503, "stripe_unavailable")
    assert (await service.purchase(student))["state"] == "created"
    answer = await service.call("POST", CREATE_PAYMENT, json={"track": "dp"}, headers=headers)
    assert answer.status_code == 200
    found = await service.sandbox.api.payment_intents.list_async({"limit": 100})
    mine = [
        intent async for intent in found.auto_paging_iter() if metadata_of(intent).get("student_id") == str(student)
    ]
    assert [intent.id for intent in mine] == [answer.json()["paymentIntentId"]]


async def test_concurrent_requests_create_one_customer(service: Service) -> None:
    student = uuid4()
    requests = [(CREATE_PAYMENT, {"track": track}) for track in ("dp", "fsd")] * 4
    answers = await asyncio.gather(*(post(service, path, student, body) for path, body in requests))
    assert {answer.status_code for answer in answers} <= {200, 409, 503}
    found = await service.sandbox.api.customers.list_async({"limit": 100})
    mine = [each async for each in found.auto_paging_iter() if metadata_of(each).get("student_id") == str(student)]
    assert len(mine) == 1
    assert (mine[0].email, mine[0].name) == ("ada@example.org", "Ada")


async def test_confirming_reads_and_grants_nothing(service: Service) -> None:
    student = uuid4()
    intent_id = (await post(service, CREATE_PAYMENT, student, {"track": "dp"})).json()["paymentIntentId"]
    await pay(service, intent_id)
    body = (await post(service, CONFIRM, student, {"paymentIntentId": intent_id})).json()
    assert (body["status"], body["paymentStatus"]) == ("succeeded", "requires_payment"), "no event has arrived yet"
    assert (await service.purchase(student))["state"] == "awaiting_payment"
    others = await post(service, CONFIRM, uuid4(), {"paymentIntentId": intent_id})
    assert (others.status_code, others.json()["code"]) == (404, "unknown_payment")
    assert (await post(service, CONFIRM, student, {"paymentIntentId": "pi_\x00"})).status_code == 404


async def test_a_declined_card_leaves_the_intent_open(service: Service) -> None:
    student = uuid4()
    first = (await post(service, CREATE_PAYMENT, student, {"track": "dp"})).json()
    declined = await pay(service, first["paymentIntentId"], card="4000000000000002")
    assert declined["status"] == "requires_payment_method"
    await service.deliver_stripe_events(student)
    assert (await service.purchase(student))["state"] == "awaiting_payment"
    assert (await post(service, CREATE_PAYMENT, student, {"track": "dp"})).json() == first


async def test_a_page_instead_of_an_intent_closes_the_intent(service: Service) -> None:
    student = uuid4()
    urls = {"success_url": f"{FRONTEND}/done", "cancel_url": f"{FRONTEND}/back"}
    intent_id = (await post(service, CREATE_PAYMENT, student, {"track": "dp"})).json()["paymentIntentId"]
    page = await post(service, CREATE_SESSION, student, {"track": "dp", **urls})
    assert page.status_code == 200, page.text
    assert (await service.sandbox.api.payment_intents.retrieve_async(intent_id)).status == "canceled"
    session = await service.sandbox.api.checkout.sessions.retrieve_async(page.json()["sessionId"])
    assert (session.url, session.success_url, session.cancel_url) == (page.json()["url"], *urls.values())
    back = await post(service, CREATE_PAYMENT, student, {"track": "dp"})
    assert back.status_code == 200 and back.json()["paymentIntentId"] != intent_id
    assert (await service.sandbox.api.checkout.sessions.retrieve_async(session.id)).status == "expired"
    states = [row["state"] for row in await service.purchases(student)]
    assert states == ["expired", "expired", "awaiting_payment"]


@pytest.mark.parametrize("field", ["success_url", "cancel_url"])
@pytest.mark.parametrize(
    "url", ["https://evil.example/x", "javascript:alert(1)", "//evil.example", "https://school.example@evil.example/"]
)
async def test_urls_must_be_on_the_allow_list(service: Service, field: str, url: str) -> None:
    body = {"track": "dp", "success_url": f"{FRONTEND}/done", "cancel_url": f"{FRONTEND}/back", field: url}
    answer = await post(service, CREATE_SESSION, uuid4(), body)
    assert (answer.status_code, answer.json()["code"]) == (422, "redirect_not_allowed")


async def test_an_intent_that_nobody_pays_is_canceled(service: Service) -> None:
    student = uuid4()
    intent_id = (await post(service, CREATE_PAYMENT, student, {"track": "dp"})).json()["paymentIntentId"]
    await service.perform(student, INTENT_EXPIRY)
    assert (await service.sandbox.api.payment_intents.retrieve_async(intent_id)).status == "canceled"
    assert (await service.purchase(student))["state"] == "expired"


async def test_an_intent_that_was_paid_is_not_canceled(service: Service) -> None:
    student = uuid4()
    intent_id = (await post(service, CREATE_PAYMENT, student, {"track": "dp"})).json()["paymentIntentId"]
    await pay(service, intent_id)
    await service.perform(student, INTENT_EXPIRY)
    assert (await service.purchase(student))["state"] == "awaiting_payment", "its event has not arrived yet"
    await service.deliver_stripe_events(student)
    await service.perform(student, INTENT_EXPIRY)
    assert (await service.purchase(student))["state"] == "paid"


async def test_concurrent_answers_are_stored_once(service: Service) -> None:
    """There are two unique keys, the student and the customer: neither may make a request fail."""

    async def keep(student: UUID) -> str:
        async with service.database.transaction() as db:
            return await save_customer(db, student, f"cus_{student.hex}", None, at=utc_now())

    for student in [uuid4() for _ in range(20)]:
        assert set(await asyncio.gather(*(keep(student) for _ in range(8)))) == {f"cus_{student.hex}"}
