"""A sponsor pays: a case manager requests it, the sponsor's finance department pays, the student is enrolled."""

from __future__ import annotations

from email.message import EmailMessage

import asyncpg
from tests.journeys.harness import BARBER, School, count, text_of
from tests.waiting import until


async def test_a_sponsors_payment_enrolls_the_student(school: School) -> None:
    student, case_manager = school.student(), school.staff("case_manager")
    finance = "finance@sponsor.example.com"
    body = {
        "studentId": str(student.id),
        "programId": BARBER,
        "programSlug": BARBER,
        "fundingSource": "WIOA",
    }
    answer = await case_manager.post("checkout", "/api/funding/create-checkout", body)
    assert answer.is_success, answer.text
    funding = answer.json()
    assert funding["ok"] is True
    invoice = await school.stripe_api(f"/invoices/{funding['sessionId']}")

    async def link() -> EmailMessage | None:
        sent = [m for m in school.mails(finance) if funding["url"] in text_of(m)]
        return sent[0] if sent else None

    await until(link, what="the payment link in the sponsor's mailbox")
    clicked = await school.http.get(funding["url"], follow_redirects=False)
    assert (clicked.status_code, clicked.headers["location"]) == (303, invoice["hosted_invoice_url"])
    await school.stripe(f"/invoices/{invoice['id']}/pay", {"method": "card", "email": finance, "name": "WIOA Finance"})
    enrollment = await student.enrollment_becomes("active")
    assert (enrollment["source"], enrollment["funding_source"], enrollment["payment_status"]) == (
        "case_manager",
        "WIOA",
        "paid",
    )
    await student.instructor_assigned()

    connection = await asyncpg.connect(school.stack.databases["checkout"].url)
    try:

        async def paid() -> bool:
            row = await connection.fetchrow(
                "SELECT status, amount, paid_at FROM funding_payments WHERE stripe_invoice_id = $1", invoice["id"]
            )
            return bool(row and row["status"] == "paid" and str(row["amount"]) == "4890.00" and row["paid_at"])

        await until(paid, what="the funding payment marked as paid")
    finally:
        await connection.close()
    assert count(student.subjects(), "receipt") == 0, "the receipt goes to the sponsor"


async def test_a_contact_that_is_added_later_receives_what_waited(school: School) -> None:
    """Sponsored students may never have signed in."""
    student, case_manager = school.student(), school.staff("case_manager")
    body = {"studentId": str(student.id), "programId": BARBER, "programSlug": BARBER, "fundingSource": "WIOA"}
    answer = await case_manager.post("checkout", "/api/funding/create-checkout", body)
    assert answer.is_success, answer.text
    await school.stripe(f"/invoices/{answer.json()['sessionId']}/pay", {"method": "card"})
    await student.enrollment_becomes("active")
    assert student.subjects() == []
    url = f"{school.stack.url('checkout')}/api/admin/students/{student.id}/contact"
    contact = {"email": student.person.email, "name": student.person.name}
    answer = await school.http.put(url, json=contact, headers=case_manager.headers)
    assert answer.is_success, answer.text
    await student.mailed("welcome")


async def test_a_student_cannot_request_funding(school: School) -> None:
    student = school.student()
    body = {"studentId": str(student.id), "programId": BARBER, "programSlug": BARBER, "fundingSource": "WIOA"}
    assert (await student.post("checkout", "/api/funding/create-checkout", body)).status_code == 403
