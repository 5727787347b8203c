"""Cash, checks, transfers and waivers: recorded by an admin, and as good as any other money."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.checkout.schedule_steps import EACH, FIRST, School

SCHEDULES = "/api/admin/payments/schedules"


async def record(school: School, id: object, method: str = "cash", reference: str = "R-1", **sent: Any) -> Any:
    body = {"payment_method": method, "transaction_reference": reference, "notes": "at the desk"}
    return await school.call("POST", f"{SCHEDULES}/{id}/record-payment", json=body, **{"role": "admin", **sent})


@pytest.mark.parametrize("method", ["cash", "check", "bank_transfer"])
async def test_money_by_hand_is_told_like_stripes(school: School, method: str) -> None:
    told = await school.enrolled()
    first = told["schedules"][0]
    answer = await record(school, first["id"], method)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["amount"], answer.json()["currency"]) == (FIRST, "usd")
    (said,) = await school.service.said(school.student, "payment.succeeded.v1")
    assert said["refs"] == {"manual": answer.json()["payment_id"], "installment": f"{first['id']}:1"}
    assert (said["method"], said["amount"]["amount"], said["price"]["amount"]) == (method, FIRST, 489_000)
    assert said["program"]["slug"] == "barber-apprenticeship"
    assert said["contact"]["email"] == f"{school.student.hex}@example.org"
    await school.hear()
    assert await school.state() == "paid"
    assert await school.standing() == ("active", None)
    overview = await school.overview(told["enrollment_id"])
    assert [
        (each["amount"], each["status"], each["method"])
        for each in overview["payments"]
        if each["status"] == "succeeded"
    ] == [(FIRST, "succeeded", method)]
    intent = told["stripe_client_secret"].split("_secret_")[0]
    assert (await school.sandbox.api.payment_intents.retrieve_async(intent)).status == "canceled"


async def test_the_same_reference_twice_is_one_payment(school: School) -> None:
    told = await school.enrolled()
    first, second = (each["id"] for each in told["schedules"][:2])
    one, again, other = await record(school, first), await record(school, first), await record(school, second)
    assert one.json() == again.json()
    assert (other.status_code, other.json()["code"]) == (409, "reference_already_recorded")
    more = await record(school, first, reference="R-2")
    assert (more.status_code, more.json()["code"]) == (409, "already_paid")
    assert len(await school.service.said(school.student, "payment.succeeded.v1")) == 1


async def test_twenty_at_once_are_one_payment(school: School) -> None:
    told = await school.enrolled()
    first = told["schedules"][0]["id"]
    answers = await asyncio.gather(*(record(school, first) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["payment_id"] for answer in answers}) == 1
    second = told["schedules"][1]["id"]
    answers = await asyncio.gather(*(record(school, second, reference=f"X-{n}") for n in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19
    assert len(await school.service.said(school.student, "payment.succeeded.v1")) == 2


async def test_a_waiver_settles_and_is_no_money(school: School) -> None:
    told = await school.begun()
    answer = await record(school, told["schedules"][1]["id"], "waiver", "W-1")
    assert (answer.status_code, answer.json()["amount"]) == (200, EACH)
    await school.hear()
    assert (await school.statuses())[:2] == ["paid", "waived"]
    overview = await school.overview(told["enrollment_id"])
    assert (overview["paid"], overview["due"]) == (FIRST, 4 * EACH)
    await school.later(days=31)
    assert await school.charges() == FIRST


async def test_what_was_paid_at_stripe_meanwhile_is_not_paid_again(school: School) -> None:
    told = await school.enrolled()
    await school.pay(told["stripe_client_secret"])
    answer = await record(school, told["schedules"][0]["id"])
    assert (answer.status_code, answer.json()["code"]) == (409, "already_paid")
    await school.hear()
    assert await school.statuses() == ["paid"] + ["open"] * 5


async def test_an_overdue_amount_is_paid_at_the_desk(school: School) -> None:
    told = await school.begun()
    await school.fail_next(4)
    for days in (31, 1, 2, 4):
        await school.later(days=days)
    assert await school.standing() == ("paused", "past_due")
    assert (await record(school, told["schedules"][1]["id"], "check", "C-9")).status_code == 200
    await school.hear()
    assert await school.standing() == ("active", None)
    assert (await school.statuses())[1] == "paid"


async def test_an_invoice_is_voided_first(school: School) -> None:
    body = {"product_id": "dsp", "user_id": str(school.student), "funding_source": "WIOA"}
    told = (await school.call("POST", "/api/enrollments", role="admin", json=body)).json()
    await school.uow()
    invoice = (await school.dues())[0]["stripe_invoice_id"]
    assert (await record(school, told["schedules"][0]["id"], "check")).status_code == 200
    await school.hear()
    assert (await school.sandbox.api.invoices.retrieve_async(invoice)).status == "void"
    assert await school.state() == "paid"
    assert (await school.statuses())[0] == "paid"


async def test_only_an_admin_records(school: School) -> None:
    told = await school.enrolled()
    for role in ("student", "case_manager", "specialist"):
        answer = await record(school, told["schedules"][0]["id"], role=role)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    answer = await record(school, uuid4())
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_schedule")
    for body in ({"method": "gold"}, {"reference": " "}):
        answer = await record(school, told["schedules"][0]["id"], **body)
        assert answer.status_code == 422


async def test_stripe_that_is_away_leaves_everything_as_it_was(school: School) -> None:
    told = await school.enrolled()
    await school.sandbox.faults(fail_requests=1000)
    answer = await record(school, told["schedules"][0]["id"])
    assert (answer.status_code, answer.json()["code"]) == (503, "stripe_unavailable")
    await school.sandbox.faults()
    assert (await school.statuses())[0] == "open"


# --- what admins see and change ---------------------------------------------------------------------------------------


async def test_schedules_by_status_day_and_student(school: School) -> None:
    told = await school.begun()
    mine = f"student_id={school.student}"
    second, third = (datetime.fromisoformat(each["due_at"]) for each in told["schedules"][1:3])
    span = f"due_from={second:%Y-%m-%dT%H:%M:%S.%fZ}&due_to={third:%Y-%m-%dT%H:%M:%S.%fZ}"
    for query, count in ((mine, 6), (f"{mine}&status=paid", 1), (f"{mine}&{span}", 1), (f"student_id={uuid4()}", 0)):
        answer = await school.admin("GET", f"{SCHEDULES}?{query}")
        assert len(answer.json()["items"]) == count, query
    page = (await school.admin("GET", f"{SCHEDULES}?{mine}&limit=4")).json()
    rest = (await school.admin("GET", f"{SCHEDULES}?{mine}&limit=4&cursor={page['next']}")).json()
    assert (len(page["items"]), len(rest["items"]), rest["next"]) == (4, 2, None)
    assert (await school.call("GET", SCHEDULES)).status_code == 403


async def test_another_due_date(school: School) -> None:
    told = await school.begun()
    path = f"{SCHEDULES}/{told['schedules'][1]['id']}"
    due_at = await school.clock.now() + timedelta(days=60)
    answer = await school.admin("PATCH", path, json={"due_at": due_at.isoformat()})
    assert answer.status_code == 200, answer.text
    await school.later(days=45)
    assert (await school.statuses())[1] == "open"
    await school.later(days=16)
    assert (await school.statuses())[1] == "paid"
    again = await school.admin("PATCH", path, json={"due_at": due_at.isoformat()})
    assert (again.status_code, again.json()["code"]) == (409, "already_paid")
    past = await school.admin(
        "PATCH", f"{SCHEDULES}/{told['schedules'][4]['id']}", json={"due_at": "2020-01-01T00:00:00Z"}
    )
    assert (past.status_code, past.json()["code"]) == (422, "due_date_out_of_range")


async def test_an_overdue_amount_that_gets_another_day_pauses_no_enrollment(school: School) -> None:
    told = await school.begun()
    await school.fail_next(4)
    for days in (31, 1, 2, 4):
        await school.later(days=days)
    assert await school.standing() == ("paused", "past_due")
    path = f"{SCHEDULES}/{told['schedules'][1]['id']}"
    due_at = await school.clock.now() + timedelta(days=10)
    answer = await school.admin("PATCH", path, json={"due_at": due_at.isoformat()})
    assert (answer.json()["status"], answer.json()["attempts"]) == ("open", 0)
    await school.hear()
    assert await school.standing() == ("active", None)
    await school.later(days=10)
    assert (await school.statuses())[1] == "paid"
    # and once more from the beginning
    await school.fail_next(4)
    for days in (31, 1, 2, 4):
        await school.later(days=days)
    assert await school.standing() == ("paused", "past_due")


async def test_a_paused_amount_waits(school: School) -> None:
    told = await school.begun()
    path = f"{SCHEDULES}/{told['schedules'][1]['id']}"
    for _ in range(2):
        answer = await school.admin("POST", f"{path}/pause")
        assert (answer.status_code, answer.json()["status"]) == (200, "paused")
    await school.later(days=40)
    assert (await school.statuses())[1] == "paused"
    answer = await school.admin("POST", f"{path}/resume")
    assert answer.json()["status"] == "open"
    await school.uow()
    assert (await school.statuses())[1] == "paid"
    answer = await school.admin("POST", f"{path}/pause")
    assert (answer.status_code, answer.json()["code"]) == (409, "already_paid")


async def test_statistics_by_currency(school: School) -> None:
    before = (await school.admin("GET", f"{SCHEDULES}/statistics")).json()["items"]
    await school.begun()
    euros = await school.product(currency="eur", price=70_000)
    await school.enrolled(euros)
    after = {each["currency"]: each for each in (await school.admin("GET", f"{SCHEDULES}/statistics")).json()["items"]}
    known = {each["currency"]: each for each in before}
    usd = known.get("usd", {"paid": {"count": 0, "amount": 0}, "due": {"count": 0, "amount": 0}})
    assert after["usd"]["paid"]["amount"] - usd["paid"]["amount"] == FIRST
    assert after["usd"]["due"]["amount"] - usd["due"]["amount"] == 5 * EACH
    assert after["usd"]["due"]["count"] - usd["due"]["count"] == 5
    assert after["eur"]["due"]["amount"] >= 70_000
