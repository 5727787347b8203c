"""`POST /api/enrollments` and `GET /api/purchases`."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from pydantic import SecretStr
from tests.checkout.installment_steps import EACH, FIRST, School
from tests.checkout.service import ADMIN

from contracts.people import enrollment_uuid


async def test_the_plan_is_detected_and_its_first_installment_can_be_paid(school: School) -> None:
    answer = await school.enroll()
    assert answer.status_code == 201, answer.text
    enrollment = answer.json()
    assert enrollment["enrollment_id"] == str(enrollment_uuid(school.student, "barber-apprenticeship"))
    assert enrollment["payment_plan"] == {"type": "deposit_installments", "deposit_percent": 20, "installments": 5}
    assert [each["amount"] for each in enrollment["schedules"]] == [FIRST] + [EACH] * 5
    assert [each["kind"] for each in enrollment["schedules"]] == ["deposit"] + ["installment"] * 5
    assert enrollment["requires_immediate_payment"] is True
    intent = await school.sandbox.api.payment_intents.retrieve_async(
        enrollment["stripe_client_secret"].split("_secret_")[0]
    )
    assert (intent.amount, intent.setup_future_usage, intent.customer) == (
        FIRST,
        "off_session",
        await school.customer(),
    )
    assert intent.metadata["installment"] == f"{enrollment['schedules'][0]['id']}:1"
    assert intent.metadata["price"] == "489000"
    (created,) = await school.service.published(school.student, "purchase.created.v1")
    assert (created["payment_type"], created["installments"]) == ("plan", 6)


async def test_the_product_can_be_named_by_id(school: School) -> None:
    enrollment = await school.enrolled("5f0c0e0a-6a51-4c5e-9a30-0d4b1f6f0a04")
    assert enrollment["payment_plan"] == {"type": "full"}
    assert [(each["kind"], each["amount"]) for each in enrollment["schedules"]] == [("full", 57_500)]


async def test_an_unpaid_enrollment_is_resumed(school: School) -> None:
    first, second = await school.enrolled(), await school.enrolled()
    assert first == second


async def test_twenty_concurrent_requests_are_one_enrollment(school: School) -> None:
    answers = await asyncio.gather(*(school.enroll() for _ in range(20)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["purchase_id"] for answer in answers if answer.status_code == 201}) == 1
    assert len(await school.installments()) == 6


async def test_a_retry_with_the_same_idempotency_key_gets_the_same_answer(school: School) -> None:
    body = {"product_id": "cpr", "user_id": str(school.student)}
    headers = {"Idempotency-Key": str(uuid4())}
    first = await school.call("POST", "/api/enrollments", json=body, headers=headers)
    again = await school.call("POST", "/api/enrollments", json=body, headers=headers)
    other = await school.call("POST", "/api/enrollments", json={**body, "product_id": "dsp"}, headers=headers)
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 422)
    assert again.json() == first.json()
    assert other.json()["code"] == "idempotency_key_reused"


async def test_enrolling_needs_a_token(school: School) -> None:
    answer = await school.service.call("POST", "/api/enrollments", app=school.app, json={})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"product_id": "astronaut"}, 404, "unknown_product"),
        ({"user_id": str(uuid4())}, 403, "forbidden"),
        ({"funding_source": "WIOA"}, 403, "forbidden"),
        ({"promotion_code": "NEVERHEARD"}, 404, "unknown_promotion"),
        ({"user_id": "me"}, 422, "invalid_request"),
    ],
)
async def test_invalid_enrollments(school: School, body: dict[str, str], status: int, code: str) -> None:
    answer = await school.enroll("cpr", **body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_an_inactive_product_cannot_be_enrolled_in(school: School) -> None:
    slug = await school.product(active=False)
    answer = await school.enroll(slug)
    assert (answer.status_code, answer.json()["code"]) == (409, "product_inactive")


async def test_a_paid_enrollment_is_not_paid_twice(school: School) -> None:
    enrolled = await school.enrolled()
    await school.pay(enrolled["stripe_client_secret"])
    early = await school.enroll()
    await school.deliver()
    late = await school.enroll()
    assert [(each.status_code, each.json()["code"]) for each in (early, late)] == [(409, "payment_in_progress")] * 2


async def test_another_payment_flow_replaces_an_unpaid_enrollment(school: School) -> None:
    enrolled = await school.enrolled()
    body = {"programName": "x", "programSlug": "barber-apprenticeship", "price": 4890, "paymentType": "full"}
    answer = await school.call("POST", "/api/create-checkout-session", json=body)
    assert answer.status_code == 200, answer.text
    intent = enrolled["stripe_client_secret"].split("_secret_")[0]
    assert (await school.sandbox.api.payment_intents.retrieve_async(intent)).status == "canceled"
    assert set(await school.statuses()) == {"canceled"}


async def test_a_payment_of_an_installment_that_was_just_closed_counts(school: School) -> None:
    """The payment succeeded, so the enrollment opens, and the other installments are due again."""
    enrolled = await school.enrolled()
    await school.pay(enrolled["stripe_client_secret"])
    purchase = (await school.service.purchase(school.student))["id"]
    await school.service.rows(
        "UPDATE installments SET status = 'canceled', closed_because = 'expired' WHERE purchase_id = :id RETURNING id",
        id=purchase,
    )
    await school.service.rows("UPDATE purchases SET state = 'expired' WHERE id = :id RETURNING id", id=purchase)
    await school.deliver()
    assert await school.state() == "paid"
    assert await school.statuses() == ["paid"] + ["open"] * 5
    await school.later(days=31)
    assert (await school.statuses())[1] == "paid"


async def test_staff_enroll_a_student(school: School) -> None:
    await school.service.assign(school.student, ADMIN)
    body = {"product_id": "cpr", "user_id": str(school.student)}
    answer = await school.call("POST", "/api/enrollments", role="case_manager", json=body)
    assert answer.status_code == 201, answer.text
    await school.pay(answer.json()["stripe_client_secret"])
    await school.deliver()
    assert await school.statuses() == ["paid"]


async def test_a_sponsored_enrollment_is_not_the_students_to_pay(school: School) -> None:
    body = {"product_id": "dsp", "user_id": str(school.student), "funding_source": "WIOA"}
    enrolled = (await school.call("POST", "/api/enrollments", role="case_manager", json=body)).json()
    for path in (
        f"/api/enrollments/{enrolled['purchase_id']}/pay-remaining",
        f"/api/payments/schedules/{enrolled['schedules'][0]['id']}/intent",
    ):
        own = await school.call("POST", path)
        assert (own.status_code, own.json()["code"]) == (409, "sponsor_pays")
    unknown = {"product_id": "cpr", "user_id": str(school.student), "funding_source": "NASA"}
    answer = await school.call("POST", "/api/enrollments", role="admin", json=unknown)
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_funding_source")


async def test_without_stripe_payments_are_recorded_by_hand(school: School) -> None:
    bare = school.service.app_with(stripe_api_key=SecretStr(""), test_clock=True)
    school.app, usual = bare, school.app
    enrollment = await school.enrolled()
    assert (enrollment["stripe_client_secret"], enrollment["requires_immediate_payment"]) == (None, True)
    body = {"payment_method": "cash", "transaction_reference": "R-1", "notes": "at the front office"}
    first = f"/api/admin/payments/schedules/{enrollment['schedules'][0]['id']}"
    answer = await school.admin("POST", f"{first}/record-payment", json=body)
    assert answer.status_code == 200, answer.text
    await school.deliver()
    assert await school.state() == "paid"
    answer = await school.call("POST", f"/api/payments/schedules/{enrollment['schedules'][1]['id']}/intent")
    assert (answer.status_code, answer.json()["code"]) == (503, "stripe_not_configured")
    await bare.state.database.close()
    await bare.state.stripe.close()
    school.app = usual


async def test_a_membership_cannot_be_enrolled_in(school: School) -> None:
    rows = await school.service.rows("SELECT slug FROM items WHERE kind = 'membership' LIMIT 1")
    answer = await school.enroll(rows[0]["slug"])
    assert (answer.status_code, answer.json()["code"]) == (409, "use_memberships")


async def test_list_purchases(school: School) -> None:
    enrollment = await school.started()
    other = await school.enrolled("cpr")
    answer = await school.call("GET", "/api/purchases")
    newest, oldest = answer.json()["items"]
    assert newest["id"] == other["purchase_id"]
    assert (newest["status"], newest["plan"], newest["due"]) == ("awaiting_payment", "full", 57_500)
    assert (oldest["enrollment_id"], oldest["product"]) == (enrollment["enrollment_id"], "barber-apprenticeship")
    assert (oldest["paid"], oldest["due"], oldest["plan"]) == (FIRST, 5 * EACH, "deposit_installments")
    assert oldest["next_due_at"] == enrollment["schedules"][1]["due_at"]
    for query, count in (
        ("status=awaiting_payment", 1),
        ("plan=full", 1),
        ("product=barber-apprenticeship", 1),
        (f"user_id={uuid4()}", 0),
        ("limit=1", 1),
    ):
        answer = await school.call("GET", f"/api/purchases?{query}")
        assert len(answer.json()["items"]) == count, query
    cursor = answer.json()["next"]
    answer = await school.call("GET", f"/api/purchases?limit=1&cursor={cursor}")
    assert [each["product"] for each in answer.json()["items"]] == ["barber-apprenticeship"]
    await school.service.assign(school.student, ADMIN)
    everybody = await school.call("GET", f"/api/purchases?user_id={school.student}", role="case_manager")
    assert len(everybody.json()["items"]) == 2


async def test_the_payment_overview_is_for_its_payer_and_staff(school: School) -> None:
    enrollment = await school.started()
    for id in (enrollment["enrollment_id"], enrollment["purchase_id"]):
        overview = await school.overview(id)
        assert overview["next_due"]["amount"] == EACH
        assert (overview["amount"], overview["paid"], overview["due"]) == (489_000, FIRST, 5 * EACH)
        assert overview["price"] == 4890
    path = f"/api/enrollments/{enrollment['enrollment_id']}/payment"
    stranger = await school.call("GET", path, id=uuid4())
    assert (stranger.status_code, stranger.json()["code"]) == (404, "unknown_enrollment")
    await school.service.assign(school.student, ADMIN)
    staff = await school.call("GET", path, role="case_manager")
    assert staff.status_code == 200
    due = f"/api/payments/schedules/{enrollment['schedules'][1]['id']}/intent"
    stranger = await school.call("POST", due, id=uuid4())
    assert (stranger.status_code, stranger.json()["code"]) == (404, "unknown_installment")


async def test_a_discount_is_spread_over_the_installments(school: School) -> None:
    code = await school.code(percent_off=10)
    enrollment = await school.enrolled(promotion_code=code)
    assert sum(each["amount"] for each in enrollment["schedules"]) == 440_100


async def test_a_full_discount_opens_the_enrollment(school: School) -> None:
    code = await school.code(percent_off=100)
    enrollment = await school.enrolled(promotion_code=code)
    assert (enrollment["schedules"], enrollment["stripe_client_secret"], enrollment["requires_immediate_payment"]) == (
        [],
        None,
        False,
    )
    await school.service.perform(school.student, "free_payment")
    await school.deliver()
    assert await school.state() == "paid"
