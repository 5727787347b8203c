"""Merchandise, which gives no enrollment and may be bought again; and items that nobody teaches."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from tests.checkout.sandbox import metadata_of
from tests.checkout.service import Service, bearer
from tests.checkout.test_catalog_items import made, published
from tests.checkout.test_courses import buy, enroll, session_of


async def create_intent(service: Service, student: UUID, slug: str, **sent: Any) -> httpx.Response:
    headers = bearer("student", student) | sent.pop("headers", {})
    return await service.call("POST", "/api/payments/create-intent", json={"itemId": slug}, headers=headers)


async def pay_page(service: Service, student: UUID) -> None:
    for session in await service.sandbox.sessions_of(student):
        if session.status == "open":
            await service.sandbox.pay(session.id)
    await service.deliver_stripe_events(student)


async def states(service: Service, student: UUID) -> list[str]:
    return [row["state"] for row in await service.purchases(student)]


async def test_merchandise_is_bought_again(service: Service) -> None:
    slug, student = (await made(service, "merchandise", price=25))["slug"], uuid4()
    for number in (1, 2, 3):
        answer = await buy(service, student, slug)
        assert answer.status_code == 200, answer.text
        again = await buy(service, student, slug)
        assert again.json() == answer.json(), "what is open is resumed"
        await pay_page(service, student)
        assert await states(service, student) == ["paid"] * number
    rows = await service.rows("SELECT amount, status FROM payments WHERE student_id = :student", student=student)
    assert [(row["amount"], row["status"]) for row in rows] == [(2500, "succeeded")] * 3


async def test_merchandise_by_intent_and_at_once(service: Service) -> None:
    slug, student = (await made(service, "merchandise", price=25))["slug"], uuid4()
    answers = await asyncio.gather(*(create_intent(service, student, slug) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["paymentIntentId"] for answer in answers}) == 1, "one thing that can be paid"
    await service.sandbox.operate(f"/payment_intents/{answers[0].json()['paymentIntentId']}/pay")
    await service.deliver_stripe_events(student)
    other = await create_intent(service, student, slug)
    assert other.status_code == 200 and other.json()["paymentIntentId"] != answers[0].json()["paymentIntentId"]


async def test_an_idempotency_key_buys_merchandise_once(service: Service) -> None:
    slug, student = (await made(service, "merchandise", price=25))["slug"], uuid4()
    key = {"Idempotency-Key": f"k-{uuid4()}"}
    first = await create_intent(service, student, slug, headers=key)
    await service.sandbox.operate(f"/payment_intents/{first.json()['paymentIntentId']}/pay")
    await service.deliver_stripe_events(student)
    assert (await create_intent(service, student, slug, headers=key)).json() == first.json()
    assert await states(service, student) == ["paid"]


async def test_merchandise_is_paid_and_no_enrollment(service: Service) -> None:
    slug, student = (await made(service, "merchandise", price=25))["slug"], uuid4()
    body = {"product_id": slug, "user_id": str(student)}
    refused = await service.call("POST", "/api/enrollments", json=body, headers=bearer("student", student))
    assert (refused.status_code, refused.json()["code"]) == (409, "no_enrollment")
    await buy(service, student, slug)
    await pay_page(service, student)
    listed = await service.call("GET", "/api/purchases", headers=bearer("student", student))
    assert [(each["kind"], each["status"]) for each in listed.json()["items"]] == [("merchandise", "paid")]


async def test_merchandise_in_a_bundle_does_not_prevent_it(service: Service) -> None:
    student = uuid4()
    shirt, course = [(await made(service, kind))["slug"] for kind in ("merchandise", "course")]
    bundle = (await made(service, "bundle", includes=[shirt, course]))["slug"]
    await buy(service, student, shirt)
    await pay_page(service, student)
    assert (await buy(service, student, bundle)).status_code == 200, "the shirt is no enrollment"
    await pay_page(service, student)
    newest = (await service.purchases(student))[-1]
    assert (newest["state"], newest["covers"]) == ("paid", [course])
    await enroll(service, student, course)
    assert (await buy(service, student, bundle)).json()["code"] == "already_enrolled"
    assert (await buy(service, student, shirt)).status_code == 200


@pytest.mark.parametrize("kind", ["product", "service", "merchandise"])
async def test_everything_that_is_paid_once_has_a_page(service: Service, kind: str) -> None:
    slug, student = (await made(service, kind))["slug"], uuid4()
    assert (await buy(service, student, slug)).status_code == 200
    assert metadata_of(await session_of(service, student))["program_kind"] == kind
    membership = await buy(service, student, "student-membership")
    assert (membership.status_code, membership.json()["code"]) == (404, "unknown_course")


async def test_an_item_that_nobody_teaches(service: Service) -> None:
    taught, untaught = await made(service), await made(service, taught=False)
    assert (taught["taught"], untaught["taught"]) == (True, False)
    assert "untaught" not in (await published(service, taught["slug"]))[0]["item"]
    assert (await published(service, untaught["slug"]))[0]["item"]["untaught"] is True
    bundle = await made(service, "bundle", includes=[taught["slug"], untaught["slug"]])
    (event,) = await published(service, bundle["slug"])
    assert [part.get("untaught") for part in event["item"]["includes"]] == [None, True]

    student = uuid4()
    await buy(service, student, untaught["slug"])
    assert metadata_of(await session_of(service, student))["program_untaught"] == "true"
    (created,) = await service.published(student, "purchase.created.v1")
    assert created["program"]["untaught"] is True
    other = uuid4()
    await buy(service, other, taught["slug"])
    assert "program_untaught" not in metadata_of(await session_of(service, other))

    changed = await service.admin("PATCH", f"/api/admin/items/{untaught['slug']}", taught=True)
    assert changed.json()["taught"] is True
    assert "untaught" not in (await published(service, untaught["slug"]))[-1]["item"]
    assert [part.get("untaught") for part in (await published(service, bundle["slug"]))[-1]["item"]["includes"]] == [
        None,
        None,
    ]
