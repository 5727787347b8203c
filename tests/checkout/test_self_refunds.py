"""A student refunds without an admin: the whole purchase, in time, and it ends. Everything else needs an admin."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text
from tests.checkout.payment_steps import (
    BY_ADMIN,
    PRICE,
    ask,
    deliver_published,
    paid,
    pay_again,
    pay_cash,
    payment,
    payments,
    read,
    refunds,
    refused,
    standing,
    stripes,
)
from tests.checkout.service import Service, bearer
from tests.databases import api_database

from checkout.payments import refund_service
from contracts.enrollment import EnrollmentActivated, EnrollmentCompleted, EnrollmentProgressed
from contracts.people import Program, enrollment_uuid


async def _finish(service: Service, student: UUID) -> None:
    """Makes the refunds at Stripe, and delivers all events."""
    await deliver_published(service, student)
    await service.perform(student, refund_service.REFUND)
    await service.deliver_stripe_events(student)


async def test_the_whole_purchase_ends(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    answer = await ask(service, row["id"], by=("student", student))
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["amount"], made["origin"], made["status"]) == (PRICE, "student", "pending")
    assert (made["purchase_ended"], made["credit_deducted"], len(made["refunds"])) == (True, 0, 1)
    (ended,) = await service.published(student, "purchase.ended.v1")
    assert (ended["by"], ended["reason"], ended["purchase_id"]) == ("student", "refunded", str(row["purchase_id"]))
    assert ended["as_of"]
    assert (await service.purchase(student))["state"] == "canceled", "in the same commit"

    await _finish(service, student)
    assert await standing(service, student) == ("withdrawn", "refunded")
    (at_stripe,) = await stripes(service, row["stripe_payment_intent_id"])
    assert at_stripe.amount == PRICE
    view = (await read(service, f"/api/payments/{row['id']}", by=student)).json()
    assert (view["refund_status"], view["status"]) == ("refunded", "succeeded")


async def test_the_api_login_sees_only_its_students_ends(service: Service) -> None:
    students = [uuid4(), uuid4()]
    for student in students:
        row = await paid(service, student)
        assert (await ask(service, row["id"], by=("student", student))).status_code == 201
    api = api_database(service.server)
    for role, expected in (("student", {students[0]}), ("admin", set(students))):
        async with api.transaction_of(student_id=students[0], role=role) as db:
            found = set((await db.execute(text("SELECT student_id FROM purchase_ends"))).scalars())
        assert found & set(students) == expected
    await api.close()


async def test_the_one_cent_attack(service: Service) -> None:
    """Everything but a cent is refunded, and the enrollment stays open: refused, however the amount is sent."""
    student = uuid4()
    row = await paid(service, student)
    for amount in (1, PRICE // 2, PRICE - 1):
        answer = await ask(service, row["id"], by=("student", student), amount=amount)
        refused(answer, 403, "partial_refund_needs_admin")
        assert "request-refund" in answer.json()["detail"]
        assert answer.json()["left"] == PRICE
    refused(await ask(service, row["id"], by=("student", student), amount=PRICE + 1), 422, "amount_too_large")
    assert await refunds(service, row["id"]) == []
    assert (await ask(service, row["id"], by=("student", student), amount=PRICE)).status_code == 201


async def test_all_payments_of_the_purchase_are_refunded_together(service: Service) -> None:
    student = uuid4()
    first = await paid(service, student)
    second = await pay_again(service, student, amount=20_000)
    refused(await ask(service, second["id"], by=("student", student), amount=20_000), 403, "partial_refund_needs_admin")
    answer = await ask(service, second["id"], by=("student", student))
    assert answer.status_code == 201, answer.text
    assert (answer.json()["payment_id"], answer.json()["amount"]) == (str(second["id"]), 20_000)
    assert [each["amount"] for each in answer.json()["refunds"]] == [20_000, PRICE]
    await _finish(service, student)
    for row in (first, second):
        (made,) = await stripes(service, row["stripe_payment_intent_id"])
        assert made.amount == row["amount"]
    assert [row["refunded"] for row in await payments(service, student)] == [PRICE, 20_000]
    assert len(await service.published(student, "purchase.ended.v1")) == 1


async def test_what_an_admin_has_refunded_before_is_not_refunded_again(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    await ask(service, row["id"], by=BY_ADMIN, amount=10_000)
    answer = await ask(service, row["id"], by=("student", student), amount=PRICE - 10_000)
    assert (answer.status_code, answer.json()["amount"]) == (201, PRICE - 10_000)


async def test_six_at_once_are_one(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    answers = await asyncio.gather(*(ask(service, row["id"], by=("student", student)) for _ in range(6)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 5}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"nothing_to_refund"}
    assert len(await refunds(service, row["id"])) == 1
    assert len(await service.published(student, "purchase.ended.v1")) == 1


async def test_the_same_idempotency_key_is_the_same_refund(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    key = str(uuid4())
    first, again = [
        await ask(service, row["id"], by=("student", student), headers={"Idempotency-Key": key}) for _ in range(2)
    ]
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    await service.rows(  # a crash lost the response
        "UPDATE idempotency_keys SET status = NULL, body = NULL, created_at = now() - interval '2 minutes' "
        "WHERE key = :key RETURNING key",
        key=key,
    )
    again = await ask(service, row["id"], by=("student", student), headers={"Idempotency-Key": key})
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert len(await refunds(service, row["id"])) == 1


async def test_the_window_starts_with_the_first_payment(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    second = await pay_again(service, student, amount=20_000)
    await service.rows(
        "UPDATE payments SET paid_at = now() - interval '31 days' WHERE id = :id RETURNING id", id=row["id"]
    )
    refused(await ask(service, second["id"], by=("student", student)), 409, "refund_window_over")
    patient = service.app_with(refund_window_days=60)
    path, headers = f"/api/payments/{second['id']}/refund/", bearer("student", student)
    answer = await service.call("POST", path, app=patient, json={"reason": "x"}, headers=headers)
    assert answer.status_code == 201, answer.text


async def _enrolled(service: Service, student: UUID, event: Any, revision: int) -> None:
    row = await service.purchase(student)
    await service.publish(
        event(
            enrollment_id=enrollment_uuid(student, row["program_slug"]),
            student_id=student,
            program=Program(slug=row["program_slug"], id=row["program_id"]),
            purchase_id=row["id"],
            revision=revision,
        )
    )


async def test_not_after_the_course_is_completed(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    await _enrolled(service, student, EnrollmentActivated, 1)
    await _enrolled(service, student, EnrollmentCompleted, 2)
    refused(await ask(service, row["id"], by=("student", student)), 409, "course_completed")
    view = (await read(service, f"/api/payments/{row['id']}", by=student)).json()
    assert view["refundable"] == {"amount": PRICE, "allowed": False, "code": "course_completed"}
    assert (await ask(service, row["id"], by=BY_ADMIN)).status_code == 201


async def test_not_after_too_much_of_the_course_is_done(service: Service) -> None:
    """A course that is nearly done is not refunded by the student alone; how much is too much is a setting."""
    student = uuid4()
    row = await paid(service, student)
    for percent in (26, 10):  # in any order, the highest counts
        progress = EnrollmentProgressed(
            enrollment_id=enrollment_uuid(student, "cpr"), student_id=student, program_slug="cpr", percent=percent
        )
        await service.publish(progress)
    refused(await ask(service, row["id"], by=("student", student)), 409, "course_in_progress")
    lenient = service.app_with(self_refund_max_progress=26)
    path, headers = f"/api/payments/{row['id']}/refund", bearer("student", student)
    answer = await service.call("POST", path, app=lenient, json={"reason": "x"}, headers=headers)
    assert answer.status_code == 201, answer.text


async def test_the_cash_attack(service: Service) -> None:
    """Cash that an admin recorded is returned by hand: a student who books it back has been given nothing."""
    student = uuid4()
    row = await paid(service, student)
    by_cash = await pay_cash(service, row, amount=30_000)
    for payment_id in (row["id"], by_cash["id"]):
        refused(await ask(service, payment_id, by=("student", student)), 403, "paid_by_hand")
    assert await service.published(student, "payment.refunded.v1") == []
    assert (await ask(service, by_cash["id"], by=BY_ADMIN)).json()["status"] == "succeeded"
    await deliver_published(service, student)
    assert (await ask(service, row["id"], by=("student", student))).status_code == 201, "only Stripe's money is left"


async def test_not_while_a_bank_debit_of_the_purchase_is_processing(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    pending = await pay_again(service, student, amount=20_000, settled=False)
    assert pending["status"] == "processing"
    refused(await ask(service, row["id"], by=("student", student)), 409, "payment_processing")
    await service.sandbox.operate(f"/payment_intents/{pending['stripe_payment_intent_id']}/settle")
    await service.deliver_stripe_events(student)
    answer = await ask(service, row["id"], by=("student", student))
    assert sorted(each["amount"] for each in answer.json()["refunds"]) == [20_000, PRICE]


async def test_nothing_more_after_the_school_has_canceled(service: Service) -> None:
    """The school keeps what its policy says, and so does the student's refund."""
    student = uuid4()
    row = await paid(service, student)
    path = f"/api/admin/enrollments/{row['purchase_id']}/cancel"
    canceled = await service.admin("POST", path, reason="moved", refund_amount=100)
    assert canceled.status_code == 200, canceled.text
    refused(await ask(service, row["id"], by=("student", student)), 409, "purchase_ended")


async def test_only_admins_keep_an_enrollment_or_refund_by_hand(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    refused(await ask(service, row["id"], by=("student", student), keep_enrollment=True), 403, "forbidden")
    refused(await ask(service, row["id"], by=("student", student), by_hand=True), 403, "forbidden")
    refused(await ask(service, row["id"], by=BY_ADMIN, by_hand=True), 409, "refundable_at_stripe")


async def test_a_refund_that_stripe_refuses_leaves_the_purchase_ended(service: Service) -> None:
    """The student and an admin hear of it; the student does not try again alone."""
    student = uuid4()
    row = await paid(service, student)
    await service.sandbox.operate(f"/charges/{row['stripe_charge_id']}/dispute")
    assert (await ask(service, row["id"], by=("student", student))).status_code == 201, "its event has not arrived"
    await service.perform(student, refund_service.REFUND)
    (failed,) = await service.published(student, "refund.failed.v1")
    assert failed["code"] == "charge_disputed"
    refused(await ask(service, row["id"], by=("student", student)), 409, "purchase_ended")
    assert (await payment(service, student))["refunded"] == 0
