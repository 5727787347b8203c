"""Sponsors' invoices: one price and one purchase whichever route asks, terms, reminders, and the end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import stripe
from pydantic import SecretStr
from tests.checkout.installment_steps import School
from tests.checkout.sandbox import metadata_of
from tests.checkout.service import FINANCE, FUND, PUBLIC, bearer

from checkout import main
from checkout.settings import StripeSettings
from checkout.stripe_client import Stripe

BARBER = "barber-apprenticeship"
WIOA = {"funding_source": "WIOA"}


async def fund(school: School, **body: Any) -> Any:
    sent = {"studentId": str(school.student), "programId": BARBER, "programSlug": BARBER, "fundingSource": "WIOA"}
    return await school.call("POST", FUND, role="case_manager", json=sent | body)


async def enroll(school: School, product: str = BARBER, **body: Any) -> Any:
    sent = {"product_id": product, "user_id": str(school.student), **WIOA, **body}
    return await school.call("POST", "/api/enrollments", role="case_manager", json=sent)


async def invoices_of(school: School, student: UUID | None = None) -> list[stripe.Invoice]:
    """Every invoice that was ever made for the student."""
    found = []
    for row in await school.service.rows("SELECT stripe_customer_id FROM sponsor_customers"):
        listed = await school.sandbox.api.invoices.list_async({"customer": row["stripe_customer_id"], "limit": 100})
        found += [each async for each in listed.auto_paging_iter()]
    return [each for each in found if metadata_of(each).get("student_id") == str(student or school.student)]


def fields_of(invoice: stripe.Invoice) -> dict[str, str]:
    return {each.name: each.value for each in invoice.custom_fields or []}


# --- one price, one purchase ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("funding_first", [True, False])
async def test_both_routes_make_the_same_purchase(school: School, funding_first: bool) -> None:
    routes = [fund, enroll] if funding_first else [enroll, fund]
    for route in routes:
        assert (await route(school)).status_code in (200, 201)
    (purchase,) = await school.service.purchases(school.student)
    (invoice,) = await invoices_of(school)
    assert (invoice.status, invoice.amount_due) == ("open", purchase["amount"])


async def test_both_routes_at_once_make_one_payable_invoice(school: School) -> None:
    for _ in range(3):
        school.student = uuid4()
        answers = await asyncio.gather(*(route(school) for route in (fund, enroll, fund, enroll)))
        assert {answer.status_code for answer in answers} <= {200, 201, 409}
        assert len({answer.json()["sessionId"] for answer in answers if answer.status_code == 200}) <= 1
        assert [each.status for each in await invoices_of(school) if each.status in ("open", "draft")] == ["open"]
        rows = await school.service.purchases(school.student)
        assert sum(row["state"] == "awaiting_payment" for row in rows) == 1


async def test_a_sponsors_customer_that_was_deleted_at_stripe_is_replaced(school: School) -> None:
    assert (await enroll(school, funding_source="OJT")).status_code == 201
    (row,) = await school.service.rows("SELECT stripe_customer_id FROM sponsor_customers WHERE code = 'OJT'")
    await school.sandbox.api.customers.delete_async(row["stripe_customer_id"])
    school.student = uuid4()
    answer = await enroll(school, funding_source="OJT")
    assert answer.status_code == 201, answer.text
    (invoice,) = await invoices_of(school)
    assert (invoice.status, invoice.customer != row["stripe_customer_id"]) == ("open", True)


async def test_a_sponsor_pays_the_whole_amount_at_once(school: School) -> None:
    """Though students pay this one in installments."""
    enrolled = (await enroll(school)).json()
    (installment,) = enrolled["schedules"]
    assert (installment["kind"], installment["amount"], installment["status"]) == ("full", 489_000, "open")
    assert (enrolled["stripe_client_secret"], enrolled["requires_immediate_payment"]) == (None, False)
    assert (await school.service.purchase(school.student))["payment_type"] == "full"


async def test_without_a_total_cost_a_sponsor_pays_the_default_amount(school: School) -> None:
    product = await school.product()
    assert (await enroll(school, product)).json()["schedules"][0]["amount"] == 29_500


async def test_a_sponsor_without_a_finance_address_is_not_invoiced(school: School) -> None:
    school.app = school.service.app_with(test_clock=True, sponsor_finance_email=None)
    for route in (fund, enroll):
        answer = await route(school)
        assert (answer.status_code, answer.json()["code"]) == (409, "no_finance_email")
    assert await school.service.purchases(school.student) == []


async def test_only_staff_name_a_sponsor(school: School) -> None:
    body = {"studentId": str(school.student), "programId": BARBER, "programSlug": BARBER, "fundingSource": "WIOA"}
    for answer in (await school.call("POST", FUND, json=body), await school.enroll(**WIOA)):
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert await school.service.purchases(school.student) == []


# --- what the invoice says --------------------------------------------------------------------------------------------


async def test_the_invoice_states_what_the_sponsor_needs(school: School) -> None:
    answer = await fund(
        school,
        authorizationNumber="WIOA-2026-0042",
        periodStart="2026-12-01",
        periodEnd="2027-05-31",
        studentName="Ada Lovelace",
        studentEmail="ada@example.org",
    )
    assert answer.status_code == 200, answer.text
    (invoice,) = await invoices_of(school)
    assert fields_of(invoice) == {
        "Student": "Ada Lovelace",
        "Funding source": "WIOA",
        "Authorization number": "WIOA-2026-0042",
        "Training period": "2026-12-01 to 2027-05-31",
    }
    assert invoice.description == "Barber Apprenticeship for Ada Lovelace"
    assert "WIOA-2026-0042" in str(invoice.footer)
    assert invoice.due_date and invoice.invoice_pdf and invoice.number
    assert datetime.fromtimestamp(invoice.due_date, UTC) - datetime.now(UTC) > timedelta(days=29, hours=23)
    assert not {"Ada", "ada@example.org"} & set(metadata_of(invoice).values()), "no personal data in metadata"
    (event,) = await school.service.published(school.student, "purchase.created.v1")
    assert event["authorization_number"] == "WIOA-2026-0042"
    due = datetime.fromisoformat(event["due_at"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < due <= timedelta(days=30)
    (contact,) = await school.service.published(school.student, "student.updated.v1")
    assert contact["contact"] == {"email": "ada@example.org", "name": "Ada Lovelace"}


async def test_the_enrollment_route_states_the_same(school: School) -> None:
    answer = await enroll(
        school,
        authorization_number="A-7",
        period_start="2026-12-01",
        period_end="2026-12-31",
        student_name="Grace Hopper",
        student_email="grace@example.org",
    )
    assert answer.status_code == 201, answer.text
    (invoice,) = await invoices_of(school)
    assert fields_of(invoice)["Student"] == "Grace Hopper"
    assert fields_of(invoice)["Authorization number"] == "A-7"
    assert (await fund(school)).json()["sessionId"] == invoice.id, "what is not stated does not differ"


async def test_another_authorization_replaces_the_invoice(school: School) -> None:
    await fund(school, authorizationNumber="A-1")
    await fund(school, authorizationNumber="A-2")
    stated = {fields_of(each)["Authorization number"]: each.status for each in await invoices_of(school)}
    assert stated == {"A-1": "void", "A-2": "open"}


async def test_a_student_without_a_contact_is_named_by_id(school: School) -> None:
    await fund(school)
    (invoice,) = await invoices_of(school)
    assert fields_of(invoice) == {"Student": str(school.student), "Funding source": "WIOA"}
    assert invoice.customer_email == FINANCE


@pytest.mark.parametrize(
    "wrong",
    [
        {"periodStart": "2026-12-01"},
        {"periodStart": "2026-12-02", "periodEnd": "2026-12-01"},
        {"authorizationNumber": ""},
        {"authorizationNumber": "A\n7"},
        {"authorizationNumber": "A" * 101},
        {"studentName": "Ada"},
        {"studentEmail": "not an address"},
    ],
)
async def test_an_invalid_statement_is_refused(school: School, wrong: dict[str, Any]) -> None:
    answer = await fund(school, **wrong)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert await school.service.purchases(school.student) == []


async def test_only_staff_state_a_contact(school: School) -> None:
    answer = await school.enroll(student_email="eve@example.org")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_an_authorization_belongs_to_a_sponsor(school: School) -> None:
    answer = await school.enroll(authorization_number="A-1")
    assert (answer.status_code, answer.json()["code"]) == (422, "funding_source_missing")


# --- Stripe is unavailable --------------------------------------------------------------------------------------------


async def test_an_invoice_that_could_not_be_sent_is_sent_later(school: School) -> None:
    await school.sandbox.faults(fail_requests=1000)
    try:
        enrolled = await enroll(school)
        assert enrolled.status_code == 201, enrolled.text
    finally:
        await school.sandbox.faults()
    assert await invoices_of(school) == []
    await school.run_due()
    (invoice,) = await invoices_of(school)
    assert (invoice.status, invoice.customer_email) == ("open", FINANCE)
    assert (await school.service.funding(school.student))["stripe_invoice_id"] == invoice.id


async def test_the_funding_route_reports_that_stripe_is_unavailable(school: School) -> None:
    await school.sandbox.faults(fail_requests=1000)
    try:
        answer = await fund(school)
        assert (answer.status_code, answer.json()["code"]) == (503, "stripe_unavailable")
    finally:
        await school.sandbox.faults()
    again = await fund(school)
    assert again.status_code == 200
    (invoice,) = await invoices_of(school)
    assert again.json()["sessionId"] == invoice.id
    assert len(await school.service.purchases(school.student)) == 1


async def test_lost_answers_make_no_second_invoice(school: School) -> None:
    await school.sandbox.faults(lose_answers=2)
    try:
        answers = [await fund(school) for _ in range(3)]
    finally:
        await school.sandbox.faults()
    assert answers[-1].status_code == 200
    assert [each.status for each in await invoices_of(school)] == ["open"]


# --- paying, reminders, the end ---------------------------------------------------------------------------------------


async def test_the_enrollment_opens_when_the_sponsor_has_paid(school: School) -> None:
    invoice_id = (await fund(school)).json()["sessionId"]
    await school.run_due()
    assert (await school.state(), await school.statuses()) == ("awaiting_payment", ["open"])
    await school.sandbox.operate(f"/invoices/{invoice_id}/pay")
    await school.deliver()
    assert await school.standing() == ("active", None)
    assert await school.statuses() == ["paid"]
    again = await fund(school)
    assert (again.status_code, again.json()["code"]) == (409, "payment_in_progress")


async def test_no_reminder_before_the_due_date(school: School) -> None:
    await fund(school)
    for _ in range(10):
        await school.later(days=3)
    assert await school.failures() == []
    assert [each.status for each in await invoices_of(school)] == ["open"]


async def test_reminders_after_the_due_date(school: School) -> None:
    invoice_id = (await fund(school)).json()["sessionId"]
    await school.later(days=30, minutes=1)
    assert await school.failures() == []
    seen = []
    for day in range(1, 16):
        before = len(await school.failures())
        await school.later(days=1)
        if len(await school.failures()) > before:
            seen.append(day)
    assert seen == [1, 7, 14]
    failures = await school.failures()
    assert [(each["code"], each["attempt"], each["final"]) for each in failures] == [
        ("not_paid", 1, False),
        ("not_paid", 2, False),
        ("not_paid", 3, True),
    ]
    assert {each["pay_url"].rpartition("/")[0] for each in failures} == {f"{PUBLIC}/pay"}
    assert {each["payer"] for each in failures} == {"sponsor"}
    assert await school.statuses() == ["overdue"]
    assert await school.standing() == ("none", None)
    await school.sandbox.operate(f"/invoices/{invoice_id}/pay")
    await school.deliver()
    assert (await school.statuses(), await school.standing()) == (["paid"], ("active", None))


async def test_a_canceled_purchase_voids_the_invoice(school: School) -> None:
    await fund(school)
    await school.canceled()
    await school.perform()
    await school.deliver()
    assert [each.status for each in await invoices_of(school)] == ["void"]
    assert (await school.service.funding(school.student))["status"] == "failed", "it was never paid"
    assert await school.statuses() == ["canceled"]
    await school.later(days=50)
    assert await school.failures() == []


async def test_the_sponsors_customer_has_its_present_address(school: School) -> None:
    code = f"ACME-{uuid4().hex[:6].upper()}"
    await school.admin(
        "POST", "/api/admin/sponsors", json={"code": code, "name": "Acme", "finance_email": "a@acme.example"}
    )
    await fund(school, fundingSource=code)
    await school.admin("PATCH", f"/api/admin/sponsors/{code}", json={"finance_email": "b@acme.example"})
    other = uuid4()
    body = {"studentId": str(other), "programId": BARBER, "programSlug": BARBER, "fundingSource": code}
    answer = await school.service.call("POST", FUND, app=school.app, json=body, headers=bearer("admin", uuid4()))
    assert answer.status_code == 200
    emails = [each.customer_email for student in (school.student, other) for each in await invoices_of(school, student)]
    assert emails == ["a@acme.example", "b@acme.example"]
    rows = await school.service.rows("SELECT 1 FROM sponsor_customers WHERE code = :code", code=code)
    assert len(rows) == 1


async def test_a_corrected_finance_address_gets_a_new_invoice(school: School) -> None:
    code = f"ACME-{uuid4().hex[:6].upper()}"
    sponsor = {"code": code, "name": "Acme", "finance_email": "wrong@acme.example"}
    await school.admin("POST", "/api/admin/sponsors", json=sponsor)
    await fund(school, fundingSource=code)
    await school.admin("PATCH", f"/api/admin/sponsors/{code}", json={"finance_email": "right@acme.example"})
    await fund(school, fundingSource=code)
    found = {each.customer_email: each.status for each in await invoices_of(school)}
    assert found == {"wrong@acme.example": "void", "right@acme.example": "open"}
    events = await school.service.published(school.student, "purchase.created.v1")
    assert events[-1]["payer_contact"]["email"] == "right@acme.example"


async def test_without_stripe_a_sponsor_is_reminded_too(school: School) -> None:
    """The school invoices by itself, and an admin records the payment."""
    usual, school.app = school.app, school.service.app_with(stripe_api_key=SecretStr(""), test_clock=True)
    enrolled = await enroll(school)
    assert enrolled.status_code == 201, enrolled.text
    refused = await fund(school)
    assert (refused.status_code, refused.json()["code"]) == (503, "stripe_not_configured")
    bare = Stripe(StripeSettings(stripe_api_key=SecretStr(""), stripe_api_base=school.sandbox.url))
    school.service.handlers = main.jobs(school.service.database, bare, test_clock=True)
    await school.later(days=30, minutes=1)
    assert await school.failures() == []
    await school.later(days=1)
    assert [(each["code"], each["final"]) for each in await school.failures()] == [("not_paid", False)]
    await bare.close()
    school.app = usual


async def test_an_invoice_that_stripe_rejects_ends_the_purchase(school: School) -> None:
    """Nothing can be paid then, and the request can be sent again when the cause is mended."""
    code = f"ACME-{uuid4().hex[:6].upper()}"
    sponsor = {"code": code, "name": "Acme", "finance_email": "a@acme.example"}
    await school.admin("POST", "/api/admin/sponsors", json=sponsor)
    await fund(school, fundingSource=code)
    (row,) = await school.service.rows("SELECT stripe_customer_id FROM sponsor_customers WHERE code = :code", code=code)
    await school.sandbox.operate(f"/customers/{row['stripe_customer_id']}/fail_next_finalization")
    school.student = uuid4()
    answer = await fund(school, fundingSource=code)
    assert (answer.status_code, answer.json()["code"]) == (502, "payment_refused")
    await school.perform()
    assert (await school.state(), await school.statuses()) == ("failed", ["canceled"])
    assert (await school.service.funding(school.student))["status"] == "failed"
    assert [each.status for each in await invoices_of(school) if each.status in ("open", "draft")] == []
    assert (await fund(school, fundingSource=code)).status_code == 200


async def test_an_invoice_is_announced_before_it_is_due(school: School) -> None:
    await fund(school)
    await school.later(days=26)
    assert await school.service.published(school.student, "installment.announced.v1") == []
    for _ in range(3):
        await school.later(days=1, minutes=1)
    (event,) = await school.service.published(school.student, "installment.announced.v1")
    (installment,) = await school.installments()
    assert (event["payer"], event["automatic"], event["amount"]["amount"]) == ("sponsor", False, 489_000)
    assert event["payer_contact"] == {"email": FINANCE, "name": "Workforce Innovation and Opportunity Act"}
    assert (datetime.fromisoformat(event["due_at"]), event["pay_url"]) == (
        installment["due_at"],
        installment["pay_page"],
    )
