"""Paying an installment early, and paying the remainder: the same money is never paid twice."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from tests.checkout.installment_steps import DAY, EACH, FIRST, School


async def rest(school: School, enrollment: object, **sent: Any) -> Any:
    return await school.call("POST", f"/api/enrollments/{enrollment}/pay-remaining", **sent)


async def test_pay_the_remainder(school: School) -> None:
    enrollment = await school.started()
    answer = await rest(school, enrollment["enrollment_id"])
    assert answer.status_code == 200, answer.text
    assert answer.json()["amount"] == 5 * EACH
    again = await rest(school, enrollment["enrollment_id"])
    assert again.json() == answer.json()
    assert (await school.overview(enrollment["enrollment_id"]))["due"] == 5 * EACH
    await school.pay(answer.json()["stripe_client_secret"])
    await school.deliver()
    assert await school.statuses() == ["paid"] + ["canceled"] * 5 + ["paid"]
    await school.later(days=200)
    assert await school.charges() == 489_000
    assert await school.standing() == ("active", None)
    over = await rest(school, enrollment["enrollment_id"])
    assert (over.status_code, over.json()["code"]) == (409, "nothing_due")


async def test_pay_an_installment_early(school: School) -> None:
    enrollment = await school.started()
    path = f"/api/payments/schedules/{enrollment['schedules'][1]['id']}/intent"
    answer, again = await school.call("POST", path), await school.call("POST", path)
    assert answer.json() == again.json()
    await school.pay(answer.json()["stripe_client_secret"])
    await school.deliver()
    over = await school.call("POST", path)
    assert (over.status_code, over.json()["code"]) == (409, "already_paid")
    await school.later(days=32)
    assert await school.statuses() == ["paid", "paid"] + ["open"] * 4
    assert await school.charges() == FIRST + EACH


async def test_the_remainder_and_an_installment_end_each_others_intents(school: School) -> None:
    enrollment = await school.started()
    part = await school.call("POST", f"/api/payments/schedules/{enrollment['schedules'][1]['id']}/intent")
    whole = await rest(school, enrollment["purchase_id"])
    intent = await school.sandbox.api.payment_intents.retrieve_async(part.json()["payment_intent_id"])
    assert (intent.status, whole.json()["amount"]) == ("canceled", 5 * EACH)
    # and vice versa
    part = await school.call("POST", f"/api/payments/schedules/{enrollment['schedules'][1]['id']}/intent")
    intent = await school.sandbox.api.payment_intents.retrieve_async(whole.json()["payment_intent_id"])
    assert (intent.status, part.json()["amount"]) == ("canceled", EACH)
    await school.pay(part.json()["stripe_client_secret"])
    await school.deliver()
    whole = await rest(school, enrollment["purchase_id"])
    assert whole.json()["amount"] == 4 * EACH
    await school.pay(whole.json()["stripe_client_secret"])
    await school.deliver()
    assert await school.charges() == 489_000


async def test_the_timer_ends_an_unpaid_remainder(school: School) -> None:
    enrollment = await school.started()
    whole = await rest(school, enrollment["purchase_id"])
    await school.later(days=31)
    assert (await school.statuses())[:2] == ["paid", "paid"]
    intent = await school.sandbox.api.payment_intents.retrieve_async(whole.json()["payment_intent_id"])
    assert intent.status == "canceled"
    assert await school.charges() == FIRST + EACH


async def test_the_timer_waits_for_a_remainder_in_progress(school: School) -> None:
    enrollment = await school.started()
    whole = await rest(school, enrollment["purchase_id"])
    await school.pay(whole.json()["stripe_client_secret"])
    await school.clock.advance(31 * DAY)
    await school.timer.sweep()
    await school.perform()  # its event has not been heard yet
    assert await school.charges() == 489_000
    await school.deliver()
    assert await school.statuses() == ["paid"] + ["canceled"] * 5 + ["paid"]
    assert await school.charges() == 489_000


async def test_concurrent_requests_get_one_intent(school: School) -> None:
    enrollment = await school.started()
    answers = await asyncio.gather(*(rest(school, enrollment["purchase_id"]) for _ in range(10)))
    assert len({answer.json().get("payment_intent_id") for answer in answers if answer.status_code == 200}) == 1
    assert {answer.status_code for answer in answers} <= {200, 409, 503}


async def test_a_remainder_with_an_overdue_installment_resumes_the_enrollment(school: School) -> None:
    enrollment = await school.started()
    await school.fail_next(4)
    for days in (31, 1, 2, 4):
        await school.later(days=days)
    assert await school.standing() == ("paused", "past_due")
    answer = await rest(school, enrollment["purchase_id"])
    await school.pay(answer.json()["stripe_client_secret"])
    await school.deliver()
    assert await school.standing() == ("active", None)
    assert await school.charges() == 489_000


async def test_the_remainder_of_one_installment_is_that_installment(school: School) -> None:
    enrollment = await school.enrolled("cpr")
    answer = await rest(school, enrollment["purchase_id"])
    assert answer.json()["stripe_client_secret"] == enrollment["stripe_client_secret"]


async def test_another_students_remainder_is_not_found(school: School) -> None:
    enrollment = await school.started()
    answer = await rest(school, enrollment["purchase_id"], id=uuid4())
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_enrollment")


async def test_the_remainder_is_recomputed_when_an_installment_is_paid(school: School) -> None:
    enrollment = await school.started()
    old = await rest(school, enrollment["purchase_id"])
    body = {"payment_method": "cash", "transaction_reference": "R-7", "notes": None}
    path = f"/api/admin/payments/schedules/{enrollment['schedules'][1]['id']}/record-payment"
    assert (await school.admin("POST", path, json=body)).status_code == 200
    intent = await school.sandbox.api.payment_intents.retrieve_async(old.json()["payment_intent_id"])
    assert intent.status == "canceled"
    new = await rest(school, enrollment["purchase_id"])
    assert new.json()["amount"] == 4 * EACH
    await school.pay(new.json()["stripe_client_secret"])
    await school.deliver()
    assert await school.charges() == FIRST + 4 * EACH
    assert (await school.overview(enrollment["purchase_id"]))["paid"] == 489_000
