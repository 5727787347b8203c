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
    session = funding["sessionId"]

    async def link() -> EmailMessage | None:
        sent = [m for m in school.mails(finance) if session in text_of(m)]
        return sent[0] if sent else None

    await until(link, what="the payment link in the sponsor's mailbox")
    await school.stripe(f"/sessions/{session}/pay", {"method": "card", "email": finance, "name": "WIOA Finance"})
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
                "SELECT status, amount, paid_at FROM funding_payments WHERE stripe_checkout_session_id = $1", session
            )
            return bool(row and row["status"] == "paid" and str(row["amount"]) == "4890.00" and row["paid_at"])

        await until(paid, what="the funding payment marked as paid")
    finally:
        await connection.close()
    assert count(student.subjects(), "receipt") == 0, "the receipt goes to the sponsor"


async def test_a_student_cannot_request_funding(school: School) -> None:
    student = school.student()
    body = {"studentId": str(student.id), "programId": BARBER, "programSlug": BARBER, "fundingSource": "WIOA"}
    assert (await student.post("checkout", "/api/funding/create-checkout", body)).status_code == 403
