"""`POST /api/admin/enrollments/{id}/cancel`: what is refunded, and that nothing more is charged."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from tests.checkout.installment_steps import EACH, FIRST, School
from tests.checkout.service import major


async def cancel(school: School, id: object, **body: Any) -> Any:
    sent = {"reason": "moved away", **body}
    return await school.admin("POST", f"/api/admin/enrollments/{id}/cancel", json=sent)


async def refunds(school: School) -> list[dict[str, Any]]:
    return await school.service.rows("SELECT * FROM refunds WHERE student_id = :s ORDER BY amount", s=school.student)


@pytest.mark.parametrize(("days", "refund"), [(0, FIRST), (13, FIRST), (16, FIRST // 2), (27, FIRST // 2)])
async def test_the_refund_follows_the_policy(school: School, days: int, refund: int) -> None:
    enrollment = await school.started()
    await school.later(days=days)
    answer = await cancel(school, enrollment["enrollment_id"])
    assert answer.status_code == 200, answer.text
    assert (answer.json()["paid"], answer.json()["refunded"], answer.json()["status"]) == (FIRST, refund, "canceled")
    assert answer.json()["purchase_id"] == enrollment["purchase_id"]
    await school.run_due()
    assert await school.charges() == FIRST - refund
    assert await school.statuses() == ["paid"] + ["canceled"] * 5
    assert await school.state() == "canceled"
    assert await school.standing() == ("withdrawn", "canceled")
    (event,) = await school.service.published(school.student, "purchase.ended.v1")
    assert event["reason"] == "moved away"
    await school.later(days=60)
    assert await school.charges() == FIRST - refund


async def test_after_the_policys_last_day_nothing_is_refunded(school: School) -> None:
    enrollment = await school.started()
    for _ in range(2):
        await school.later(days=31)
    answer = await cancel(school, enrollment["enrollment_id"])
    assert (answer.json()["paid"], answer.json()["refunded"]) == (FIRST + 2 * EACH, 0)
    await school.run_due()
    assert await refunds(school) == []
    assert await school.charges() == FIRST + 2 * EACH


async def test_a_repeated_cancellation_returns_the_same_answer(school: School) -> None:
    enrollment = await school.started()
    answers = await asyncio.gather(*(cancel(school, enrollment["enrollment_id"]) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    other = await cancel(school, enrollment["purchase_id"], reason="another", refund_amount=1)
    assert other.text == answers[0].text
    assert len(await refunds(school)) == 1
    assert len(await school.service.published(school.student, "purchase.ended.v1")) == 1


async def test_the_newest_payments_are_refunded_first(school: School) -> None:
    enrollment = await school.started()
    await school.later(days=31)
    answer = await cancel(school, enrollment["enrollment_id"], refund_amount=major(EACH + 100))
    assert answer.json()["refunded"] == EACH + 100
    assert [each["amount"] for each in await refunds(school)] == [100, EACH]
    await school.run_due()
    assert await school.charges() == FIRST - 100


async def test_more_than_was_paid_is_rejected(school: School) -> None:
    enrollment = await school.started()
    answer = await cancel(school, enrollment["enrollment_id"], refund_amount=major(FIRST + 1))
    assert (answer.status_code, answer.json()["code"], answer.json()["most"]) == (422, "refund_too_large", FIRST)
    assert await school.statuses() == ["paid"] + ["open"] * 5
    assert await school.state() == "paid"
    # nor more than is left of it after a refund
    (payment,) = await school.service.rows("SELECT id FROM payments WHERE student_id = :s", s=school.student)
    gone = await school.admin(
        "POST", f"/api/payments/{payment['id']}/refund", json={"amount": 1000, "reason": "a day missed"}
    )
    assert gone.status_code < 300, gone.text
    answer = await cancel(school, enrollment["enrollment_id"], refund_amount=major(FIRST - 999))
    assert (answer.status_code, answer.json()["most"]) == (422, FIRST - 1000)
    answer = await cancel(school, enrollment["enrollment_id"])
    assert answer.json()["refunded"] == FIRST - 1000


async def test_an_unpaid_enrollment_is_canceled_without_a_refund(school: School) -> None:
    enrollment = await school.enrolled()
    answer = await cancel(school, enrollment["enrollment_id"])
    assert (answer.json()["paid"], answer.json()["refunded"]) == (0, 0)
    await school.run_due()
    assert await school.state() == "canceled"
    assert set(await school.statuses()) == {"canceled"}
    intent = enrollment["stripe_client_secret"].split("_secret_")[0]
    assert (await school.sandbox.api.payment_intents.retrieve_async(intent)).status == "canceled"
    again = await school.enrolled()
    assert again["purchase_id"] != enrollment["purchase_id"]


async def test_a_late_payment_is_refunded_automatically(school: School) -> None:
    enrollment = await school.enrolled()
    await school.pay(enrollment["stripe_client_secret"])
    answer = await cancel(school, enrollment["purchase_id"])
    assert (answer.json()["paid"], answer.json()["refunded"]) == (0, 0)
    await school.run_due()
    assert [each["amount"] for each in await refunds(school)] == [FIRST]
    assert await school.charges() == 0
    assert await school.state() == "canceled"
    assert await school.standing() == ("withdrawn", "canceled")


async def test_a_debit_that_settles_late_is_refunded_automatically(school: School) -> None:
    enrollment = await school.started()
    answer = await school.call("POST", f"/api/payments/schedules/{enrollment['schedules'][1]['id']}/intent")
    await school.pay(answer.json()["stripe_client_secret"], method="us_bank_account")
    await school.deliver()
    assert (await school.statuses())[1] == "processing"
    assert (await cancel(school, enrollment["purchase_id"], refund_amount=0)).json()["refunded"] == 0
    await school.sandbox.operate(f"/payment_intents/{answer.json()['payment_intent_id']}/settle")
    await school.run_due()
    assert [each["amount"] for each in await refunds(school)] == [EACH]
    assert await school.charges() == FIRST


async def test_cash_is_refunded_by_hand_and_published(school: School) -> None:
    enrollment = await school.enrolled()
    body = {"payment_method": "cash", "transaction_reference": "R-1", "notes": None}
    path = f"/api/admin/payments/schedules/{enrollment['schedules'][0]['id']}/record-payment"
    assert (await school.admin("POST", path, json=body)).status_code == 200
    await school.deliver()
    answer = await cancel(school, enrollment["purchase_id"])
    assert answer.json()["refunded"] == FIRST
    assert len(await school.service.published(school.student, "payment.refunded.v1")) == 1


async def test_an_unpaid_page_is_expired(school: School) -> None:
    body = {"programName": "x", "programSlug": "cpr", "price": 575, "paymentType": "full"}
    assert (await school.call("POST", "/api/create-checkout-session", json=body)).status_code == 200
    purchase = await school.service.purchase(school.student)
    assert (await cancel(school, purchase["id"])).status_code == 200
    assert await school.state() == "canceled"
    (session,) = await school.sandbox.sessions_of(school.student)
    assert session.status == "expired"


async def test_a_plan_on_stripes_page_stops_charging(school: School) -> None:
    body = {"programName": "x", "programSlug": "dsp", "price": 4325, "paymentType": "plan"}
    assert (await school.call("POST", "/api/create-checkout-session", json=body)).status_code == 200
    (session,) = await school.sandbox.sessions_of(school.student)
    await school.sandbox.pay(session.id)
    await school.run_due()
    purchase = await school.service.purchase(school.student)
    answer = await cancel(school, purchase["id"])
    assert answer.json()["refunded"] == answer.json()["paid"] > 0
    await school.run_due()
    assert await school.state() == "canceled"
    assert await school.statuses() == ["paid", "canceled", "canceled", "canceled"]
    await school.later(days=100)
    assert await school.charges() == 0


async def test_invalid_cancellations(school: School) -> None:
    enrollment = await school.started()
    for body in ({"reason": ""}, {"refund_amount": -1}, {"refund_amount": "10,50"}, {"refund_amount": 1.505}):
        assert (await cancel(school, enrollment["purchase_id"], **body)).status_code == 422, body
    answer = await cancel(school, uuid4())
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_enrollment")
    path = f"/api/admin/enrollments/{enrollment['purchase_id']}/cancel"
    for role in ("student", "case_manager"):
        assert (await school.call("POST", path, role=role, json={"reason": "x"})).status_code == 403


async def test_an_expired_enrollment_cannot_be_canceled(school: School) -> None:
    enrollment = await school.enrolled()
    await school.later(days=8)
    answer = await cancel(school, enrollment["purchase_id"])
    assert (answer.status_code, answer.json()["code"]) == (409, "enrollment_over")
