"""Cash, checks, transfers and waivers that an admin records count like any other payment."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.checkout.installment_steps import EACH, FIRST, School
from tests.checkout.service import wanted

SCHEDULES = "/api/admin/payments/schedules"


async def record(school: School, id: object, method: str = "cash", reference: str = "R-1", **sent: Any) -> Any:
    body = {"payment_method": method, "transaction_reference": reference, "notes": "at the front office"}
    return await school.call("POST", f"{SCHEDULES}/{id}/record-payment", json=body, **{"role": "admin", **sent})


@pytest.mark.parametrize("method", ["cash", "check", "bank_transfer"])
async def test_a_manual_payment_is_published_like_stripes(school: School, method: str) -> None:
    enrollment = await school.enrolled()
    first = enrollment["schedules"][0]
    answer = await record(school, first["id"], method)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["amount"], answer.json()["currency"]) == (FIRST, "usd")
    (event,) = await school.service.published(school.student, "payment.succeeded.v1")
    assert event["refs"] == {"manual": answer.json()["payment_id"], "installment": f"{first['id']}:1"}
    assert (event["method"], event["amount"]["amount"], event["price"]["amount"]) == (method, FIRST, 489_000)
    assert event["program"]["slug"] == "barber-apprenticeship"
    assert event["contact"]["email"] == f"{school.student.hex}@example.org"
    await school.deliver()
    assert await school.state() == "paid"
    assert await school.standing() == ("active", None)
    overview = await school.overview(enrollment["enrollment_id"])
    assert [
        (each["amount"], each["status"], each["method"])
        for each in overview["payments"]
        if each["status"] == "succeeded"
    ] == [(FIRST, "succeeded", method)]
    intent = enrollment["stripe_client_secret"].split("_secret_")[0]
    assert (await school.sandbox.api.payment_intents.retrieve_async(intent)).status == "canceled"


async def test_one_installment_is_for_admins(school: School) -> None:
    first = (await school.enrolled())["schedules"][0]
    read = await school.call("GET", f"{SCHEDULES}/{first['id']}", role="admin")
    assert {name: read.json()[name] for name in ("id", "amount", "status")} == {
        name: first[name] for name in ("id", "amount", "status")
    }
    assert (await school.call("GET", f"{SCHEDULES}/{first['id']}", role="case_manager")).status_code == 403
    unknown = await school.call("GET", f"{SCHEDULES}/{uuid4()}", role="admin")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_installment")


async def test_the_same_reference_twice_is_one_payment(school: School) -> None:
    enrollment = await school.enrolled()
    first, second = (each["id"] for each in enrollment["schedules"][:2])
    one, again, other = await record(school, first), await record(school, first), await record(school, second)
    assert one.json() == again.json()
    assert (other.status_code, other.json()["code"]) == (409, "reference_already_recorded")
    more = await record(school, first, reference="R-2")
    assert (more.status_code, more.json()["code"]) == (409, "already_paid")
    assert len(await school.service.published(school.student, "payment.succeeded.v1")) == 1


async def test_twenty_concurrent_requests_are_one_payment(school: School) -> None:
    enrollment = await school.enrolled()
    first = enrollment["schedules"][0]["id"]
    answers = await asyncio.gather(*(record(school, first) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["payment_id"] for answer in answers}) == 1
    second = enrollment["schedules"][1]["id"]
    answers = await asyncio.gather(*(record(school, second, reference=f"X-{n}") for n in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 19
    assert len(await school.service.published(school.student, "payment.succeeded.v1")) == 2


async def test_a_waiver_settles_without_money(school: School) -> None:
    enrollment = await school.started()
    answer = await record(school, enrollment["schedules"][1]["id"], "waiver", "W-1")
    assert (answer.status_code, answer.json()["amount"]) == (200, EACH)
    await school.deliver()
    assert (await school.statuses())[:2] == ["paid", "waived"]
    overview = await school.overview(enrollment["enrollment_id"])
    assert (overview["paid"], overview["due"]) == (FIRST, 4 * EACH)
    await school.later(days=31)
    assert await school.charges() == FIRST


async def test_an_installment_just_paid_at_stripe_is_not_recorded_again(school: School) -> None:
    enrollment = await school.enrolled()
    await school.pay(enrollment["stripe_client_secret"])
    answer = await record(school, enrollment["schedules"][0]["id"])
    assert (answer.status_code, answer.json()["code"]) == (409, "already_paid")
    await school.deliver()
    assert await school.statuses() == ["paid"] + ["open"] * 5


async def test_an_overdue_installment_is_paid_by_hand(school: School) -> None:
    enrollment = await school.started()
    await school.fail_next(4)
    for days in (31, 1, 2, 4):
        await school.later(days=days)
    assert await school.standing() == ("paused", "past_due")
    assert (await record(school, enrollment["schedules"][1]["id"], "check", "C-9")).status_code == 200
    await school.deliver()
    assert await school.standing() == ("active", None)
    assert (await school.statuses())[1] == "paid"


async def test_an_invoice_is_voided_first(school: School) -> None:
    body = {"product_id": "dsp", "user_id": str(school.student), "funding_source": "WIOA"}
    enrollment = (await school.call("POST", "/api/enrollments", role="admin", json=body)).json()
    await school.run_due()
    invoice = (await school.installments())[0]["stripe_invoice_id"]
    assert (await record(school, enrollment["schedules"][0]["id"], "check")).status_code == 200
    await school.deliver()
    assert (await school.sandbox.api.invoices.retrieve_async(invoice)).status == "void"
    assert await school.state() == "paid"
    assert (await school.statuses())[0] == "paid"


async def test_only_admins_record_payments(school: School) -> None:
    enrollment = await school.enrolled()
    for role in ("student", "case_manager", "specialist"):
        answer = await record(school, enrollment["schedules"][0]["id"], role=role)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    answer = await record(school, uuid4())
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_installment")
    for body in ({"method": "gold"}, {"reference": " "}):
        answer = await record(school, enrollment["schedules"][0]["id"], **body)
        assert answer.status_code == 422


async def test_an_outage_of_stripe_changes_nothing(school: School) -> None:
    enrollment = await school.enrolled()
    await school.sandbox.faults(fail_requests=1000)
    answer = await record(school, enrollment["schedules"][0]["id"])
    assert (answer.status_code, answer.json()["code"]) == (503, "stripe_unavailable")
    await school.sandbox.faults()
    assert (await school.statuses())[0] == "open"


# --- what admins see and change ---------------------------------------------------------------------------------------


async def test_list_installments_by_status_due_date_and_student(school: School) -> None:
    enrollment = await school.started()
    mine = f"student_id={school.student}"
    second, third = (datetime.fromisoformat(each["due_at"]) for each in enrollment["schedules"][1:3])
    span = f"due_from={second:%Y-%m-%dT%H:%M:%S.%fZ}&due_to={third:%Y-%m-%dT%H:%M:%S.%fZ}"
    for query, count in ((mine, 6), (f"{mine}&status=paid", 1), (f"{mine}&{span}", 1), (f"student_id={uuid4()}", 0)):
        answer = await school.admin("GET", f"{SCHEDULES}?{query}")
        assert len(answer.json()["items"]) == count, query
    page = (await school.admin("GET", f"{SCHEDULES}?{mine}&limit=4")).json()
    rest = (await school.admin("GET", f"{SCHEDULES}?{mine}&limit=4&cursor={page['next']}")).json()
    assert (len(page["items"]), len(rest["items"]), rest["next"]) == (4, 2, None)
    assert (await school.call("GET", SCHEDULES)).status_code == 403


async def test_change_the_due_date(school: School) -> None:
    enrollment = await school.started()
    path = f"{SCHEDULES}/{enrollment['schedules'][1]['id']}"
    due_at = await school.clock.now() + timedelta(days=50)  # not the day of another one: one charge a day is made
    answer = await school.admin("PATCH", path, json={"due_at": due_at.isoformat()})
    assert answer.status_code == 200, answer.text
    await school.later(days=45)
    assert (await school.statuses())[1] == "open"
    await school.later(days=6)
    assert (await school.statuses())[1] == "paid"
    again = await school.admin("PATCH", path, json={"due_at": due_at.isoformat()})
    assert (again.status_code, again.json()["code"]) == (409, "already_paid")
    past = await school.admin(
        "PATCH", f"{SCHEDULES}/{enrollment['schedules'][4]['id']}", json={"due_at": "2020-01-01T00:00:00Z"}
    )
    assert (past.status_code, past.json()["code"]) == (422, "due_date_out_of_range")


async def test_an_overdue_installment_with_a_new_due_date_resumes_the_enrollment(school: School) -> None:
    enrollment = await school.started()
    await school.fail_next(4)
    for days in (31, 1, 2, 4):
        await school.later(days=days)
    assert await school.standing() == ("paused", "past_due")
    path = f"{SCHEDULES}/{enrollment['schedules'][1]['id']}"
    due_at = await school.clock.now() + timedelta(days=10)
    answer = await school.admin("PATCH", path, json={"due_at": due_at.isoformat()})
    assert (answer.json()["status"], answer.json()["attempts"]) == ("open", 0)
    await school.deliver()
    assert await school.standing() == ("active", None)
    await school.later(days=10)
    assert (await school.statuses())[1] == "paid"
    # its retries start over
    await school.fail_next(4)
    for days in (31, 1, 2, 4):
        await school.later(days=days)
    assert await school.standing() == ("paused", "past_due")


async def test_a_paused_installment_is_not_collected(school: School) -> None:
    enrollment = await school.started()
    path = f"{SCHEDULES}/{enrollment['schedules'][1]['id']}"
    for _ in range(2):
        answer = await school.admin("POST", f"{path}/pause")
        assert (answer.status_code, answer.json()["status"]) == (200, "paused")
    await school.later(days=40)
    assert (await school.statuses())[1] == "paused"
    answer = await school.admin("POST", f"{path}/resume")
    assert answer.json()["status"] == "open"
    await school.run_due()
    assert (await school.statuses())[1] == "paid"
    answer = await school.admin("POST", f"{path}/pause")
    assert (answer.status_code, answer.json()["code"]) == (409, "already_paid")


async def test_statistics_by_currency(school: School) -> None:
    before = (await school.admin("GET", f"{SCHEDULES}/statistics")).json()["items"]
    await school.started()
    euros = await school.product(currency="eur", price=70_000)
    await school.enrolled(euros)
    after = {each["currency"]: each for each in (await school.admin("GET", f"{SCHEDULES}/statistics")).json()["items"]}
    by_currency = {each["currency"]: each for each in before}
    usd = by_currency.get("usd", {"paid": {"count": 0, "amount": 0}, "due": {"count": 0, "amount": 0}})
    assert after["usd"]["paid"]["amount"] - usd["paid"]["amount"] == FIRST
    assert after["usd"]["due"]["amount"] - usd["due"]["amount"] == 5 * EACH
    assert after["usd"]["due"]["count"] - usd["due"]["count"] == 5
    assert after["eur"]["due"]["amount"] >= 70_000


async def test_cash_for_the_rest_covers_the_installments_at_once(school: School) -> None:
    enrollment = await school.started()
    rest = await school.call("POST", f"/api/enrollments/{enrollment['purchase_id']}/pay-remaining")
    assert (await record(school, rest.json()["installment_id"])).status_code == 200
    part = enrollment["schedules"][1]["id"]
    again = await school.call("POST", f"/api/payments/schedules/{part}/intent")
    assert (again.status_code, again.json()["code"]) == (409, "installment_closed"), "before its event has arrived"
    assert (await record(school, part, reference="R-2")).status_code == 409
    await school.deliver()
    await school.later(days=200)
    assert await school.statuses() == ["paid"] + ["canceled"] * 5 + ["paid"]
    assert await school.charges() == FIRST
    assert await school.standing() == ("active", None)


async def test_no_cash_for_a_rest_of_which_some_was_paid_meanwhile(school: School) -> None:
    assert (await school.service.buy(school.student, wanted("cpr", 575, paymentType="plan"))).status_code == 200
    purchase = await school.service.purchase(school.student)
    rest = await school.call("POST", f"/api/enrollments/{purchase['id']}/pay-remaining")
    assert (rest.status_code, rest.json()["code"]) == (409, "paid_on_page")
    (session,) = await school.sandbox.sessions_of(school.student)
    await school.sandbox.pay(session.id)
    await school.deliver()
    for remainder in [each for each in await school.installments() if each["kind"] == "remainder"]:
        answer = await record(school, remainder["id"])
        assert (answer.status_code, answer.json()["code"]) == (409, "installment_closed")
