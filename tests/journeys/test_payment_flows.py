"""Every kind of payment and refund through all services: enrollments, mails and documents."""

from __future__ import annotations

import io
from typing import Any

import pypdf
from tests.journeys.harness import School, Student, count, text_of
from tests.waiting import until

from contracts.people import enrollment_uuid

MONTH = 31 * 24 * 3600
DAY = 24 * 3600


async def intent(student: Student, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await student.post("checkout", path, body)
    assert answer.is_success, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def confirm(student: Student, client_secret: str, **choice: Any) -> Any:
    """Pays the payment intent, as Stripe's form does in the student's browser."""
    chosen = {"method": "card", "email": student.person.email, **choice}
    return await student.school.stripe(f"/payment_intents/{client_secret.partition('_secret_')[0]}/pay", chosen)


async def advance(school: School, seconds: int) -> None:
    """Advances Stripe's clock and the school's."""
    await school.stripe("/clock/advance", {"seconds": seconds})
    answer = await school.staff("admin").post("checkout", "/api/admin/test-clock/advance", {"seconds": seconds})
    assert answer.is_success, answer.text


async def payment_of(student: Student, slug: str) -> dict[str, Any]:
    """The payments of an enrollment, from the student's API."""
    found: dict[str, Any] = await student.get(
        "checkout", f"/api/enrollments/{enrollment_uuid(student.id, slug)}/payment"
    )
    return found


async def paid_installments(student: Student, slug: str, many: int) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await payment_of(student, slug)
        return found if sum(each["status"] == "paid" for each in found["schedules"]) == many else None

    return await until(look, seconds=60, what=f"{many} paid installments of {slug}")


async def charge_attempted(student: Student, slug: str, times: int) -> None:
    async def look() -> bool:
        return any(each["attempts"] >= times for each in (await payment_of(student, slug))["schedules"])

    await until(look, what=f"attempt {times} of an installment of {slug}")


async def test_a_track_from_payment_to_completion(school: School) -> None:
    student = school.student()
    made = await intent(student, "/api/payments/create-payment/", {"track": "DP", "amount": 49_900, "currency": "usd"})
    await confirm(student, made["clientSecret"])
    enrollment = await student.enrollment_becomes("active", "dp")
    assert (enrollment["track"], enrollment["kind"]) == ("dp", "track")
    path = f"/api/enrollments/{enrollment['id']}/progress"
    progress = await student.get("enrollment", path)
    assert [project["status"] for project in progress["projects"]] == ["unlocked", "locked", "locked"]
    for project in progress["projects"]:
        for step in project["steps"]:
            done = await student.post("enrollment", f"{path}/steps/{step['id']}/done", {})
            assert done.status_code == 200, done.text
    assert done.json()["percent"] == 100
    await student.enrollment_becomes("completed", "dp")
    await student.mailed("welcome", "receipt")


async def test_the_receipt_is_attached_to_the_mail_and_can_be_downloaded(school: School) -> None:
    student = school.student("Łukasz Wójcik")
    made = await intent(student, "/api/payments/create-intent", {"itemId": "barbering-safety"})
    await confirm(student, made["clientSecret"], name="Łukasz Wójcik")
    await student.mailed("receipt")
    (mail,) = [m for m in school.mails(student.person.email) if "receipt" in str(m["Subject"]).lower()]
    (attached,) = list(mail.iter_attachments())
    assert attached.get_content_type() == "application/pdf"
    text = pypdf.PdfReader(io.BytesIO(attached.get_content())).pages[0].extract_text()
    (receipt,) = (await student.get("checkout", "/api/receipts"))["items"]
    assert receipt["number"] in text and receipt["number"] in text_of(mail)
    assert "79.00" in text and "Łukasz" in text
    other = await school.http.get(
        school.stack.url("checkout") + f"/api/receipts/{receipt['id']}/pdf", headers=school.student("Eve").headers
    )
    assert other.status_code == 404


async def test_a_plan_that_the_school_collects(school: School) -> None:
    student = school.student()
    enrolled = await intent(student, "/api/enrollments", {"product_id": "hvac", "user_id": str(student.id)})
    assert enrolled["requires_immediate_payment"] and len(enrolled["schedules"]) > 1
    assert sum(each["amount"] for each in enrolled["schedules"]) == 500_000
    assert enrolled["enrollment_id"] == str(enrollment_uuid(student.id, "hvac"))
    await confirm(student, enrolled["stripe_client_secret"])
    await student.enrollment_becomes("active", "hvac")
    for number in range(1, len(enrolled["schedules"]) + 1):
        await paid_installments(student, "hvac", number)
        if number < len(enrolled["schedules"]):
            await advance(school, MONTH)
    found = await payment_of(student, "hvac")
    assert sum(payment["amount"] for payment in found["payments"] if payment["status"] == "succeeded") == 500_000
    assert found["next_due"] is None
    assert (await student.enrollment_becomes("active", "hvac"))["status"] == "active"


async def test_a_missed_installment_pauses_and_paying_it_resumes(school: School) -> None:
    student = school.student()
    enrolled = await intent(student, "/api/enrollments", {"product_id": "dsp", "user_id": str(student.id)})
    await confirm(student, enrolled["stripe_client_secret"])
    await student.enrollment_becomes("active", "dsp")
    await paid_installments(student, "dsp", 1)
    (method,) = (await student.get("checkout", "/api/payments/methods"))["items"]
    assert method["last4"] == "4242"
    removed = await school.http.delete(
        school.stack.url("checkout") + f"/api/payments/methods/{method['id']}", headers=student.headers
    )
    assert removed.is_success, removed.text
    # without a card: an invoice and three reminders
    for attempt, days in enumerate((31, 1, 3, 7), 1):
        await advance(school, days * DAY)
        await charge_attempted(student, "dsp", attempt)
    await student.enrollment_becomes("paused", "dsp")
    await student.mailed("paused")
    due = next(each for each in (await payment_of(student, "dsp"))["schedules"] if each["status"] == "overdue")
    now = await intent(student, f"/api/payments/schedules/{due['id']}/intent", {})
    await confirm(student, now["stripe_client_secret"])
    await student.enrollment_becomes("active", "dsp")
    await student.mailed("open again")


async def test_a_bundle_gives_all_enrollments_and_one_receipt(school: School) -> None:
    student = school.student()
    answer = await student.post("checkout", "/api/checkout", {"courseId": "dp-and-fsd"})
    assert answer.is_success, answer.text
    await student.pay(await school.session(answer.json()["url"]))
    await student.enrollment_becomes("active", "dp")
    await student.enrollment_becomes("active", "fsd")
    await student.mailed("receipt")
    assert count(student.subjects(), "receipt") == 1


async def test_a_refund_on_request(school: School) -> None:
    student, admin = school.student(), school.staff("admin")
    made = await intent(student, "/api/payments/create-payment/", {"track": "fsd"})
    await confirm(student, made["clientSecret"])
    await student.enrollment_becomes("active", "fsd")
    body = {"payment_intent_id": made["paymentIntentId"], "reason": "I have to move away"}

    async def requested() -> dict[str, Any] | None:
        answer = await student.post("checkout", "/api/payments/request-refund/", body)
        return dict(answer.json()) if answer.is_success else None

    request = await until(requested, what="a refund request")
    await admin.post("checkout", f"/api/admin/refund-requests/{request['id']}/decide", {"decision": "approve"})
    await student.enrollment_becomes("withdrawn", "fsd")
    status = await student.get("checkout", f"/api/payments/status/{made['paymentIntentId']}/")
    assert status["amount"] == 59_900
    await student.mailed("refund")


async def test_a_membership_from_start_to_cancellation(school: School) -> None:
    student = school.student()
    joined = await intent(student, "/api/memberships", {"membership": "student", "interval": "month"})
    await student.pay(await school.session(joined["url"]))
    enrollment = await student.enrollment_becomes("active", "membership")
    assert enrollment["kind"] == "membership"

    async def current() -> dict[str, Any] | None:
        answer = await school.http.get(
            school.stack.url("checkout") + "/api/memberships/current", headers=student.headers
        )
        membership: dict[str, Any] = answer.json()
        return membership if answer.is_success and membership["access"] else None

    membership = await until(current, what="access by the membership")
    assert (membership["tier"], membership["access"]) == ("student", True)
    ended = await student.post("checkout", f"/api/memberships/{membership['id']}/cancel", {"at": "now"})
    assert ended.is_success, ended.text
    await student.enrollment_becomes("withdrawn", "membership")
