"""A student pays by card, by bank debit or in installments, or the payment fails."""

from __future__ import annotations

import asyncio

from tests.journeys.harness import BARBER, School, count, text_of
from tests.journeys.test_payment_flows import (
    DAY,
    MONTH,
    advance,
    charge_attempted,
    confirm,
    intent,
    paid_installments,
    payment_of,
)
from tests.waiting import until


async def test_a_card_payment_leads_to_enrollment_instructor_milady_and_mails(school: School) -> None:
    student = school.student()
    await student.buys()
    enrollment = await student.enrollment_becomes("active")
    assert (enrollment["payment_status"], enrollment["source"], enrollment["provider"]) == (
        "paid",
        "self_enroll",
        "milady",
    )
    assigned = await student.instructor_assigned()
    enrolled = await student.milady_becomes("enrolled")
    subjects = await student.mailed("welcome", "receipt")
    await school.deliveries_done()
    await asyncio.sleep(1)
    subjects = student.subjects()
    assert (count(subjects, "welcome"), count(subjects, "receipt")) == (1, 1), subjects
    welcome = next(m for m in school.mails(student.person.email) if "welcome" in str(m["Subject"]).lower())
    assert assigned["instructor"]["name"] in text_of(welcome)
    assert enrolled["links"][0]["url"] in text_of(welcome)
    assert len(await student.instructors()) == len(await student.milady_enrollments()) == 1


async def test_a_program_without_provider_gets_no_milady_enrollment(school: School) -> None:
    student = school.student()
    await student.buys("cpr")
    await student.enrollment_becomes("active", "cpr")
    await student.mailed("welcome", "receipt")
    assert await student.milady_enrollments() == []


async def test_an_enrolled_student_cannot_pay_again(school: School) -> None:
    student = school.student()
    await student.buys("dsp")
    await student.enrollment_becomes("active", "dsp")
    body = {"programName": "DSP", "programSlug": "dsp", "price": 4325, "paymentType": "full"}

    async def refused() -> bool:
        answer = await student.post("checkout", "/api/create-checkout-session", body)
        return answer.status_code == 409 and answer.json()["code"] == "already_enrolled"

    await until(refused, what="409 already_enrolled")


async def test_a_declined_card_creates_no_enrollment_sends_a_mail_and_can_be_retried(school: School) -> None:
    student = school.student()
    session = await student.checkout()
    assert (await student.pay(session, card="4000000000009995"))["status"] == "declined"
    subjects = await student.mailed("payment")
    assert await student.enrollment() is None
    assert (await student.pay(session))["status"] == "complete"
    await student.enrollment_becomes("active")
    subjects = await student.mailed("welcome", "receipt")
    assert count(subjects, "receipt") == 1


async def test_an_expired_session_leaves_nothing(school: School) -> None:
    student = school.student()
    session = await student.checkout()
    await school.stripe(f"/sessions/{session}/expire")
    await school.deliveries_done()
    again = await student.checkout()
    assert again != session
    assert await student.enrollment() is None


async def test_a_bank_debit_is_pending_until_it_clears(school: School) -> None:
    student = school.student()
    paid = await student.buys(method="us_bank_account")
    enrollment = await student.enrollment_becomes("pending")
    assert enrollment["payment_status"] == "pending"
    assert await student.instructors() == []
    await school.stripe(f"/payment_intents/{paid['payment_intent']}/settle")
    enrollment = await student.enrollment_becomes("active")
    assert enrollment["payment_status"] == "paid"
    await student.instructor_assigned()
    await student.mailed("welcome", "receipt")


async def test_a_returned_bank_debit_withdraws_the_pending_enrollment(school: School) -> None:
    student = school.student()
    paid = await student.buys(method="us_bank_account")
    await student.enrollment_becomes("pending")
    await school.stripe(f"/payment_intents/{paid['payment_intent']}/fail")
    await student.enrollment_becomes("withdrawn")
    await student.mailed("payment")
    assert await student.instructors() == []
    assert count(student.subjects(), "welcome") == 0


async def customer_of(school: School, session: str) -> str:
    found = await school.stripe_api(f"/checkout/sessions/{session}")
    return str(found["customer"])


async def test_a_plan_enrolls_on_the_first_installment_adds_up_to_the_price_and_ends(
    school: School,
) -> None:
    student = school.student()
    session = await student.checkout(payment_type="plan")
    await student.pay(session)
    await student.enrollment_becomes("active")
    for number in range(2, 5):
        await paid_installments(student, BARBER, number - 1)
        await advance(school, MONTH)
    await paid_installments(student, BARBER, 4)
    await advance(school, MONTH)
    await asyncio.sleep(1)
    customer = await customer_of(school, session)
    charges = (await school.stripe_api("/charges", customer=customer))["data"]
    assert sum(charge["amount"] for charge in charges if charge["paid"]) == 489_000
    assert len(charges) == 4
    assert (await school.stripe_api("/subscriptions", customer=customer))["data"] == []
    enrollment = await student.enrollment()
    assert enrollment is not None
    assert enrollment["status"] == "active"
    assert count(student.subjects(), "welcome") == 1


async def test_a_missed_installment_pauses_after_the_last_retry_and_payment_resumes(school: School) -> None:
    student = school.student()
    session = await student.checkout("hvac", "plan")
    await student.pay(session)
    await student.enrollment_becomes("active", "hvac")
    await paid_installments(student, "hvac", 1)
    await school.stripe(f"/customers/{await customer_of(school, session)}/fail_next_charges", {"times": 4})
    await advance(school, MONTH)
    await charge_attempted(student, "hvac", 1)
    await school.deliveries_done()
    enrollment = await student.enrollment("hvac")
    assert enrollment is not None
    assert enrollment["status"] == "active", "the first failure only warns"
    for attempt, days in enumerate((1, 3, 7), 2):
        await advance(school, days * DAY)
        await charge_attempted(student, "hvac", attempt)
    await student.enrollment_becomes("paused", "hvac")
    due = next(each for each in (await payment_of(student, "hvac"))["schedules"] if each["status"] == "overdue")
    form = await intent(student, f"/api/payments/schedules/{due['id']}/intent", {})
    await confirm(student, form["stripe_client_secret"])
    await student.enrollment_becomes("active", "hvac")


async def test_a_full_refund_withdraws_everything_and_a_partial_one_nothing(school: School) -> None:
    student = school.student()
    paid = await student.buys(BARBER)
    await student.enrollment_becomes("active")
    await student.milady_becomes("enrolled")
    await student.instructor_assigned()
    charge = (await school.stripe_api(f"/payment_intents/{paid['payment_intent']}"))["latest_charge"]
    await school.stripe(f"/charges/{charge}/refund", {"amount": 10_000})
    await student.mailed("refund")
    enrollment = await student.enrollment()
    assert enrollment is not None
    assert enrollment["status"] == "active"
    await school.stripe(f"/charges/{charge}/refund", {})
    await student.enrollment_becomes("withdrawn")
    await student.milady_becomes("withdrawn")

    async def released() -> bool:
        return await student.instructors() == []

    await until(released, what="the instructor released")


async def test_a_lost_dispute_withdraws_and_an_open_one_does_not(school: School) -> None:
    student = school.student()
    paid = await student.buys("cpr")
    await student.enrollment_becomes("active", "cpr")
    charge = (await school.stripe_api(f"/payment_intents/{paid['payment_intent']}"))["latest_charge"]
    dispute = await school.stripe(f"/charges/{charge}/dispute", {})
    await school.deliveries_done()
    await asyncio.sleep(1)
    enrollment = await student.enrollment("cpr")
    assert enrollment is not None
    assert enrollment["status"] == "active"
    await school.stripe(f"/disputes/{dispute['id']}/close", {"status": "lost"})
    await student.enrollment_becomes("withdrawn", "cpr")
