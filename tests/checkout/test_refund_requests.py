"""Students request refunds, and admins approve, amend or reject them, once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from tests.checkout.payment_steps import PRICE, ask, paid, payment, read, refunds, refused, stripes
from tests.checkout.service import ADMIN, Service, bearer

from checkout.payments import refund_service

REQUEST = "/api/payments/request-refund/"


async def _request(
    service: Service, student: UUID, intent: str, *, key: str | None = None, reason: str = "moved away"
) -> httpx.Response:
    headers = bearer("student", student) | ({"Idempotency-Key": key} if key else {})
    body = {"payment_intent_id": intent, "reason": reason}
    return await service.call("POST", REQUEST, json=body, headers=headers)


async def _decide(
    service: Service, request_id: object, decision: str, *, role: str = "admin", **body: Any
) -> httpx.Response:
    path = f"/api/admin/refund-requests/{request_id}/decide"
    body = {"decision": decision, **body}
    return await service.call("POST", path, json=body, headers=bearer(role, ADMIN))


async def _requested(service: Service) -> tuple[UUID, dict[str, Any], dict[str, Any]]:
    student = uuid4()
    row = await paid(service, student)
    answer = await _request(service, student, row["stripe_payment_intent_id"])
    assert answer.status_code == 201, answer.text
    return student, row, answer.json()


async def test_an_approved_request(service: Service) -> None:
    student, row, made = await _requested(service)
    assert (made["status"], made["reason"], made["payment_id"]) == ("pending", "moved away", str(row["id"]))
    (event,) = await service.published(student, "refund.requested.v1")
    assert event == {
        "refund_request_id": made["id"],
        "purchase_id": str(row["purchase_id"]),
        "student_id": str(student),
        "amount": {"amount": PRICE, "currency": "usd"},
        "reason": "moved away",
    }
    listed = (await read(service, "/api/admin/refund-requests?status=pending&limit=200", role="admin")).json()
    view = next(each for each in listed["items"] if each["id"] == made["id"])
    assert (view["amount"], view["currency"], view["item_slug"]) == (PRICE, "usd", "cpr")

    answer = await _decide(service, made["id"], "approve", note="of course")
    assert answer.status_code == 200, answer.text
    decided = answer.json()
    assert (decided["status"], decided["decided_amount"], decided["note"]) == ("approved", PRICE, "of course")
    (event,) = await service.published(student, "refund.decided.v1")
    assert event == {
        "refund_request_id": made["id"],
        "purchase_id": str(row["purchase_id"]),
        "student_id": str(student),
        "decision": "approved",
        "amount": {"amount": PRICE, "currency": "usd"},
    }
    await service.perform(student, refund_service.REFUND)
    (at_stripe,) = await stripes(service, row["stripe_payment_intent_id"])
    assert at_stripe.amount == PRICE
    (kept,) = await refunds(service, row["id"])
    assert (str(kept["id"]), kept["origin"], kept["status"]) == (decided["refund_id"], "request", "succeeded")
    await service.deliver_stripe_events(student)
    assert (await service.purchase(student))["state"] == "canceled"
    listed = (await read(service, "/api/admin/refund-requests?status=approved&limit=200", role="admin")).json()
    view = next(each for each in listed["items"] if each["id"] == made["id"])
    assert (view["refund_status"], view["refunded"], view["decided_by"]) == ("succeeded", PRICE, f"admin:{ADMIN}")
    (own,) = (await read(service, "/api/payments/refund-requests", by=student)).json()["items"]
    assert own == {name: value for name, value in view.items() if name != "decided_by"}
    assert (await read(service, "/api/payments/refund-requests")).json()["items"] == []


async def test_an_amended_request_refunds_less(service: Service) -> None:
    student, _, made = await _requested(service)
    refused(await _decide(service, made["id"], "approve", amount=PRICE + 1), 422, "amount_too_large")
    answer = await _decide(service, made["id"], "approve", amount=20_000)
    assert (answer.json()["status"], answer.json()["decided_amount"]) == ("approved", 20_000)
    await service.perform(student, refund_service.REFUND)
    await service.deliver_stripe_events(student)
    assert (await payment(service, student))["refunded"] == 20_000
    assert (await service.purchase(student))["state"] == "paid", "a partial refund keeps the enrollment"


async def test_a_rejected_request_refunds_nothing_and_can_be_repeated(service: Service) -> None:
    student, row, made = await _requested(service)
    answer = await _decide(service, made["id"], "reject", note="the course is done")
    assert (answer.json()["status"], answer.json()["refund_id"]) == ("rejected", None)
    (event,) = await service.published(student, "refund.decided.v1")
    assert (event["decision"], "amount" in event) == ("rejected", False)
    assert await refunds(service, row["id"]) == []
    assert (await _request(service, student, row["stripe_payment_intent_id"])).status_code == 201


async def test_one_pending_request_per_payment(service: Service) -> None:
    student, row, made = await _requested(service)
    intent = row["stripe_payment_intent_id"]
    again = await _request(service, student, intent)
    refused(again, 409, "refund_request_pending")
    assert again.json()["refund_request_id"] == made["id"]

    other = uuid4()
    paid_row = await paid(service, other)
    answers = await asyncio.gather(*(_request(service, other, paid_row["stripe_payment_intent_id"]) for _ in range(10)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 9}
    assert len(await service.published(other, "refund.requested.v1")) == 1


async def test_the_same_idempotency_key_is_the_same_request(service: Service) -> None:
    student = uuid4()
    intent = (await paid(service, student))["stripe_payment_intent_id"]
    key = str(uuid4())
    first, again = [await _request(service, student, intent, key=key) for _ in range(2)]
    assert (first.status_code, again.json()) == (201, first.json())
    refused(await _request(service, student, intent, key=key, reason="other"), 422, "idempotency_key_reused")


async def test_concurrent_decisions_decide_once(service: Service) -> None:
    student, row, made = await _requested(service)
    answers = await asyncio.gather(
        *(_decide(service, made["id"], each) for each in ("approve", "reject", "approve", "approve"))
    )
    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 3}
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"refund_request_decided"}
    assert len(await service.published(student, "refund.decided.v1")) == 1
    assert len(await refunds(service, row["id"])) <= 1


async def test_what_cannot_be_refunded_cannot_be_requested(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    intent = row["stripe_payment_intent_id"]
    refused(await _request(service, uuid4(), intent), 404, "unknown_payment")
    refused(await _request(service, student, "pi_unknown"), 404, "unknown_payment")
    refused(await _request(service, student, "NUL\x00"), 404, "unknown_payment")
    refused(await _request(service, student, intent, reason=""), 422, "invalid_request")
    assert (await service.call("POST", REQUEST, json={})).status_code == 401
    await ask(service, row["id"], by=("admin", ADMIN))
    refused(await _request(service, student, intent), 409, "nothing_to_refund")


async def test_a_dispute_leaves_the_request_pending(service: Service) -> None:
    student, row, made = await _requested(service)
    dispute = await service.sandbox.operate(f"/charges/{row['stripe_charge_id']}/dispute")
    await service.deliver_stripe_events(student)
    refused(await _decide(service, made["id"], "approve"), 409, "payment_disputed")
    await service.sandbox.operate(f"/disputes/{dispute['id']}/close", status="won")
    await service.deliver_stripe_events(student)
    assert (await _decide(service, made["id"], "approve")).status_code == 200


@pytest.mark.parametrize("role", ["student", "case_manager", "specialist"])
async def test_only_admins_decide(service: Service, role: str) -> None:
    _, _, made = await _requested(service)
    refused(await _decide(service, made["id"], "approve", role=role), 403, "forbidden")
    assert (await read(service, "/api/admin/refund-requests", role=role)).status_code == 403


async def test_invalid_decisions(service: Service) -> None:
    _, _, made = await _requested(service)
    refused(await _decide(service, uuid4(), "approve"), 404, "unknown_refund_request")
    refused(await _decide(service, made["id"], "perhaps"), 422, "invalid_request")
    refused(await _decide(service, made["id"], "approve", amount=0), 422, "invalid_request")
    refused(await _decide(service, made["id"], "approve", amount=1.5), 422, "invalid_request")
    refused(await _decide(service, made["id"], "reject", amount=100), 422, "invalid_request")
    assert (await read(service, "/api/admin/refund-requests?status=odd", role="admin")).status_code == 422
