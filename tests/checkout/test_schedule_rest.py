"""Paying early, and paying all that is left at once: never twice for the same money."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from tests.checkout.schedule_steps import DAY, EACH, FIRST, School


async def rest(school: School, enrollment: object, **sent: Any) -> Any:
    return await school.call("POST", f"/api/enrollments/{enrollment}/pay-remaining", **sent)


async def test_all_that_is_left_in_one_sum(school: School) -> None:
    told = await school.begun()
    answer = await rest(school, told["enrollment_id"])
    assert answer.status_code == 200, answer.text
    assert answer.json()["amount"] == 5 * EACH
    again = await rest(school, told["enrollment_id"])
    assert again.json() == answer.json()
    assert (await school.overview(told["enrollment_id"]))["due"] == 5 * EACH
    await school.pay(answer.json()["stripe_client_secret"])
    await school.hear()
    assert await school.statuses() == ["paid"] + ["canceled"] * 5 + ["paid"]
    await school.later(days=200)
    assert await school.charges() == 489_000
    assert await school.standing() == ("active", None)
    over = await rest(school, told["enrollment_id"])
    assert (over.status_code, over.json()["code"]) == (409, "nothing_due")


async def test_one_amount_early(school: School) -> None:
    told = await school.begun()
    path = f"/api/payments/schedules/{told['schedules'][1]['id']}/intent"
    answer, again = await school.call("POST", path), await school.call("POST", path)
    assert answer.json() == again.json()
    await school.pay(answer.json()["stripe_client_secret"])
    await school.hear()
    over = await school.call("POST", path)
    assert (over.status_code, over.json()["code"]) == (409, "already_paid")
    await school.later(days=32)
    assert await school.statuses() == ["paid", "paid"] + ["open"] * 4
    assert await school.charges() == FIRST + EACH


async def test_the_rest_takes_back_what_was_handed_out_for_a_part(school: School) -> None:
    told = await school.begun()
    part = await school.call("POST", f"/api/payments/schedules/{told['schedules'][1]['id']}/intent")
    whole = await rest(school, told["purchase_id"])
    intent = await school.sandbox.api.payment_intents.retrieve_async(part.json()["payment_intent_id"])
    assert (intent.status, whole.json()["amount"]) == ("canceled", 5 * EACH)
    # and the other way round
    part = await school.call("POST", f"/api/payments/schedules/{told['schedules'][1]['id']}/intent")
    intent = await school.sandbox.api.payment_intents.retrieve_async(whole.json()["payment_intent_id"])
    assert (intent.status, part.json()["amount"]) == ("canceled", EACH)
    await school.pay(part.json()["stripe_client_secret"])
    await school.hear()
    whole = await rest(school, told["purchase_id"])
    assert whole.json()["amount"] == 4 * EACH
    await school.pay(whole.json()["stripe_client_secret"])
    await school.hear()
    assert await school.charges() == 489_000


async def test_the_timer_takes_back_a_rest_that_nobody_pays(school: School) -> None:
    told = await school.begun()
    whole = await rest(school, told["purchase_id"])
    await school.later(days=31)
    assert (await school.statuses())[:2] == ["paid", "paid"]
    intent = await school.sandbox.api.payment_intents.retrieve_async(whole.json()["payment_intent_id"])
    assert intent.status == "canceled"
    assert await school.charges() == FIRST + EACH


async def test_a_rest_that_is_just_being_paid_keeps_the_timer_away(school: School) -> None:
    told = await school.begun()
    whole = await rest(school, told["purchase_id"])
    await school.pay(whole.json()["stripe_client_secret"])
    await school.clock.advance(31 * DAY)
    await school.timer.sweep()
    await school.perform()  # its event has not been heard yet
    assert await school.charges() == 489_000
    await school.hear()
    assert await school.statuses() == ["paid"] + ["canceled"] * 5 + ["paid"]
    assert await school.charges() == 489_000


async def test_many_at_once_get_one_intent(school: School) -> None:
    told = await school.begun()
    answers = await asyncio.gather(*(rest(school, told["purchase_id"]) for _ in range(10)))
    assert len({answer.json().get("payment_intent_id") for answer in answers if answer.status_code == 200}) == 1
    assert {answer.status_code for answer in answers} <= {200, 409, 503}


async def test_a_rest_with_an_overdue_amount_opens_the_enrollment_again(school: School) -> None:
    told = await school.begun()
    await school.fail_next(4)
    for days in (31, 1, 2, 4):
        await school.later(days=days)
    assert await school.standing() == ("paused", "past_due")
    answer = await rest(school, told["purchase_id"])
    await school.pay(answer.json()["stripe_client_secret"])
    await school.hear()
    assert await school.standing() == ("active", None)
    assert await school.charges() == 489_000


async def test_the_last_amount_is_the_rest(school: School) -> None:
    told = await school.enrolled("cpr")
    answer = await rest(school, told["purchase_id"])
    assert answer.json()["stripe_client_secret"] == told["stripe_client_secret"]


async def test_a_plan_on_stripes_page_that_was_broken_off_leaves_a_rest(school: School) -> None:
    body = {"programName": "x", "programSlug": "hvac", "price": 5000, "paymentType": "plan"}
    assert (await school.call("POST", "/api/create-checkout-session", json=body)).status_code == 200
    (session,) = await school.sandbox.sessions_of(school.student)
    await school.sandbox.pay(session.id)
    await school.uow()
    purchase = await school.service.purchase(school.student)
    early = await rest(school, purchase["id"])
    assert (early.status_code, early.json()["code"]) == (409, "nothing_due")
    await school.sandbox.api.subscriptions.cancel_async(purchase["stripe_subscription_id"])
    await school.uow()
    assert await school.standing() == ("paused", "plan_canceled")
    answer = await rest(school, purchase["id"])
    assert (answer.status_code, answer.json()["amount"]) == (200, 375_000), answer.text
    await school.pay(answer.json()["stripe_client_secret"])
    await school.uow()
    assert await school.standing() == ("active", None)
    assert await school.statuses() == ["paid"]
    assert (await rest(school, purchase["id"])).json()["code"] == "nothing_due"


async def test_somebody_elses_rest_is_not_there(school: School) -> None:
    told = await school.begun()
    answer = await rest(school, told["purchase_id"], id=uuid4())
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_enrollment")


async def test_a_rest_is_reckoned_up_anew_when_a_part_of_it_is_paid(school: School) -> None:
    told = await school.begun()
    old = await rest(school, told["purchase_id"])
    body = {"payment_method": "cash", "transaction_reference": "R-7", "notes": None}
    path = f"/api/admin/payments/schedules/{told['schedules'][1]['id']}/record-payment"
    assert (await school.admin("POST", path, json=body)).status_code == 200
    intent = await school.sandbox.api.payment_intents.retrieve_async(old.json()["payment_intent_id"])
    assert intent.status == "canceled"
    new = await rest(school, told["purchase_id"])
    assert new.json()["amount"] == 4 * EACH
    await school.pay(new.json()["stripe_client_secret"])
    await school.hear()
    assert await school.charges() == FIRST + 4 * EACH
    assert (await school.overview(told["purchase_id"]))["paid"] == 489_000
