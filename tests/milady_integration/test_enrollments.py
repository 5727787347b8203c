"""Enrollments at Milady: a real database, and the provider's sandbox with its faults."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from tests.milady_integration.harness import Sandbox, Service, Student, envelope, new_program

from contracts.checkout import StudentUpdated
from contracts.payments import PaymentFailed, PaymentRefs
from contracts.people import Contact, Program
from kit.personal_data.declaration import Person
from kit.personal_data.erasure import erase
from milady_integration.personal_data import PERSONAL

BARBER = Program(slug="barber-apprenticeship", id="prog-barber", name="Barber Apprenticeship", provider="milady")


async def test_a_paid_barber_enrollment_is_enrolled_once_with_courses_and_contact(
    service: Service, sandbox: Sandbox
) -> None:
    student = Student(BARBER)
    await service.deliver(student.paid(), student.paid())
    assert await service.status(student) == "wanted"
    await service.run_jobs()
    row = await service.provider_enrollment(student)
    remote = sandbox.enrollment(student.id)
    assert (row["status"], row["milady_enrollment_id"]) == ("enrolled", remote["id"])
    assert len(row["links"]) == len(remote["courses"]) == 3
    assert (remote["name"], remote["email"]) == ("Sam Student", "sam@example.org")
    assert await service.published(student) == ["enrolled"]


async def test_the_published_event_belongs_to_the_payment(service: Service) -> None:
    student = Student(BARBER)
    await service.deliver(student.paid())
    await service.run_jobs()
    (row,) = await service.rows(
        "SELECT headers, convert_from(body, 'UTF8')::jsonb AS body FROM outbox_messages "
        "WHERE convert_from(body, 'UTF8')::jsonb ->> 'student_id' = :student",
        student=str(student.id),
    )
    assert row["headers"]["cloudEvents:subject"] == str(student.purchase_id)
    assert row["headers"]["cloudEvents:correlationid"].endswith("/payment.succeeded.v1")
    assert row["body"]["program"]["provider"] == "milady"
    assert row["body"]["links"][0]["url"].startswith("http://127.0.0.1")


async def test_a_sponsors_contact_is_not_sent_as_the_students(service: Service, sandbox: Sandbox) -> None:
    student = Student(BARBER)
    await service.deliver(student.paid(payer="sponsor"))
    await service.run_jobs()
    remote = sandbox.enrollment(student.id)
    assert (remote["name"], remote["email"]) == (None, None)


async def test_a_sponsored_student_is_sent_with_the_stored_contact(service: Service, sandbox: Sandbox) -> None:
    student = Student(BARBER)
    old = StudentUpdated(student_id=student.id, contact=Contact(email="old@example.org"))
    new = StudentUpdated(student_id=student.id, contact=Contact(email="ann@example.org", name="Ann Student"))
    latest = envelope(new)
    earlier = replace(envelope(old), time=latest.time - timedelta(minutes=1))
    await service.deliver(latest, earlier)
    await service.deliver(student.paid(payer="sponsor"))
    await service.run_jobs()
    remote = sandbox.enrollment(student.id)
    assert (remote["name"], remote["email"]) == ("Ann Student", "ann@example.org")


async def test_a_batch_sends_each_student_with_their_own_contact_and_courses(
    service: Service, sandbox: Sandbox
) -> None:
    """Purchases, contacts and payments that have waited in the queues, in any order."""
    new = new_program(provider="milady")
    sponsored, paying, elsewhere, unpaid = Student(BARBER), Student(BARBER), Student(new), Student(new)
    both = replace(sponsored, program=new, purchase_id=uuid4())  # the same student pays for another program
    latest = envelope(StudentUpdated(student_id=sponsored.id, contact=Contact(email="ann@example.org", name="Ann")))
    old = StudentUpdated(student_id=sponsored.id, contact=Contact(email="old@example.org"))
    earlier = replace(envelope(old), time=latest.time - timedelta(minutes=1))
    await service.deliver_together(
        envelope(unpaid.starts()), latest, envelope(elsewhere.starts()), earlier, envelope(sponsored.starts())
    )
    assert await service.rows("SELECT name, email FROM contacts WHERE student_id = :id", id=sponsored.id) == [
        {"name": "Ann", "email": "ann@example.org"}
    ]
    await service.deliver_together(
        envelope(elsewhere.paid()),
        envelope(sponsored.paid(payer="sponsor")),
        envelope(paying.paid()),
        envelope(both.paid()),
    )
    await service.run_jobs()
    for student in (sponsored, paying, elsewhere, both):
        assert await service.status(student) == "enrolled"
    assert await service.status(unpaid) is None
    assert sandbox.enrollment(paying.id)["email"] == sandbox.enrollment(elsewhere.id)["email"] == "sam@example.org"
    found = await service.rows(
        "SELECT payload ->> 'program_slug' AS program, payload ->> 'email' AS email,"
        " jsonb_array_length(payload -> 'course_ids') AS courses FROM jobs"
        " WHERE kind = 'milady.enroll' AND payload ->> 'student_id' = :id ORDER BY 2",
        id=str(sponsored.id),
    )
    assert found == [
        {"program": BARBER.slug, "email": "ann@example.org", "courses": 3},
        {"program": new.slug, "email": "sam@example.org", "courses": 0},
    ]


async def test_a_refund_withdraws_and_buying_again_enrolls_again(service: Service, sandbox: Sandbox) -> None:
    student = Student(BARBER)
    await service.deliver(student.paid())
    await service.run_jobs()
    await service.deliver(student.refunded())
    await service.run_jobs()
    row = await service.provider_enrollment(student)
    assert (row["status"], row["reason"], row["links"]) == ("withdrawn", "refunded", [])
    assert sandbox.enrollments(student.id) == ["withdrawn"]
    student.buys_again()
    await service.deliver(student.paid())
    await service.run_jobs()
    assert sandbox.enrollments(student.id) == ["withdrawn", "active"]
    assert await service.published(student) == ["enrolled", "withdrawn", "enrolled"]


async def test_a_refund_that_comes_first_sends_nothing_to_milady(service: Service, sandbox: Sandbox) -> None:
    student = Student(BARBER)
    await service.deliver(student.refunded(), student.paid())
    await service.run_jobs()
    assert await service.status(student) == "withdrawn"
    assert (sandbox.requests(), await service.published(student)) == ([], [])


async def test_a_refund_before_the_first_attempt_enrolls_nobody(service: Service, sandbox: Sandbox) -> None:
    student = Student(BARBER)
    await service.deliver(student.paid(), student.refunded())
    await service.run_jobs()
    assert await service.status(student) == "withdrawn"
    assert sandbox.enrollments(student.id) == []
    assert await service.published(student) == []


async def test_a_refund_while_the_enrollment_is_in_doubt_undoes_it(service: Service, sandbox: Sandbox) -> None:
    student = Student(BARBER)
    await service.deliver(student.paid())
    sandbox.faults({"kind": "acts_then_times_out", "seconds": 0, "requests": 1})
    await service.run_jobs(rounds=1)
    assert sandbox.enrollments(student.id) == ["active"], "Milady has acted, and the response was lost"
    await service.deliver(student.refunded())
    await service.run_jobs()
    assert sandbox.enrollments(student.id) == ["withdrawn"]
    assert await service.status(student) == "withdrawn"
    assert await service.published(student) == ["withdrawn"]


async def test_a_refund_while_the_request_is_still_in_flight_undoes_it(service: Service, sandbox: Sandbox) -> None:
    student = Student(BARBER)
    await service.deliver(student.paid())
    sandbox.faults({"kind": "slow", "seconds": 600, "requests": 1})
    await service.run_jobs(rounds=1)
    assert sandbox.enrollments(student.id) == [], "Milady acts after the timeout"
    await service.deliver(student.refunded())
    await service.run_jobs()
    sandbox.faults()
    await sandbox.wait_for_responses()
    assert sandbox.enrollments(student.id) == ["withdrawn"]
    assert await service.status(student) == "withdrawn"


async def test_a_refund_after_a_refusal_undoes_what_an_earlier_attempt_did(service: Service, sandbox: Sandbox) -> None:
    student = Student(BARBER)
    await service.deliver(student.paid())
    sandbox.faults(
        {"kind": "acts_then_times_out", "seconds": 0, "requests": 1}, {"kind": "status", "status": 403, "requests": 1}
    )
    await service.run_jobs(rounds=2)
    assert await service.status(student) == "failed"
    assert sandbox.enrollments(student.id) == ["active"]
    await service.deliver(student.refunded())
    await service.run_jobs()
    assert sandbox.enrollments(student.id) == ["withdrawn"]
    assert await service.status(student) == "withdrawn"


async def test_acts_then_times_out_ends_in_one_enrollment(service: Service, sandbox: Sandbox) -> None:
    student = Student(BARBER)
    await service.deliver(student.paid())
    sandbox.faults({"kind": "acts_then_times_out", "seconds": 0, "requests": 3})
    await service.run_jobs(rounds=3)
    assert await service.status(student) == "wanted"
    await service.run_jobs()
    assert await service.status(student) == "enrolled"
    assert sandbox.enrollments(student.id) == ["active"]
    assert len({r["idempotency_key"] for r in sandbox.requests()}) == 1


async def test_an_outage_is_retried_and_publishes_nothing(service: Service, sandbox: Sandbox) -> None:
    students = [Student(BARBER) for _ in range(3)]
    await service.deliver(*(student.paid() for student in students))
    sandbox.faults({"kind": "status", "status": 503})
    await service.run_jobs(rounds=4)
    assert [await service.status(student) for student in students] == ["wanted"] * 3
    assert await service.published(students[0]) == []
    sandbox.faults()
    await service.run_jobs()
    assert [await service.status(student) for student in students] == ["enrolled"] * 3
    assert all(sandbox.enrollments(student.id) == ["active"] for student in students)


async def test_a_refusal_is_published_once_and_retried_by_an_admin(service: Service, sandbox: Sandbox) -> None:
    student = Student(BARBER)
    await service.deliver(student.paid())
    sandbox.faults({"kind": "status", "status": 422, "requests": 1})
    await service.run_jobs()
    row = await service.provider_enrollment(student)
    assert (row["status"], row["failure"]) == ("failed", "ordered_fault")
    await service.deliver(student.paid())
    await service.run_jobs()
    assert await service.published(student) == ["failed"], "another payment event does not retry"

    which = {"studentId": str(student.id), "programSlug": BARBER.slug}
    assert (await service.call("POST", "/api/admin/milady/retry", json=which)).json() == {"retried": 1}
    again = await service.call("POST", "/api/admin/milady/retry", json=which)
    assert (again.status_code, again.json()["code"]) == (409, "nothing_to_retry")
    await service.run_jobs()
    assert await service.status(student) == "enrolled"
    assert await service.published(student) == ["failed", "enrolled"]


async def test_a_retry_finds_the_enrollment_of_the_abandoned_attempt(service: Service, sandbox: Sandbox) -> None:
    student = Student(BARBER)
    await service.deliver(student.paid())
    sandbox.faults({"kind": "acts_then_times_out", "seconds": 0, "requests": 1}, {"kind": "redirect", "requests": 1})
    await service.run_jobs(rounds=2)
    assert (await service.provider_enrollment(student))["failure"] == "redirected"
    await service.call("POST", "/api/admin/milady/retry", json={})
    await service.run_jobs()
    assert await service.status(student) == "enrolled"
    assert sandbox.enrollments(student.id) == ["active"]


async def test_a_refused_withdrawal_is_published_and_can_be_retried(service: Service, sandbox: Sandbox) -> None:
    student = Student(BARBER)
    await service.deliver(student.paid())
    await service.run_jobs()
    await service.deliver(student.refunded())
    sandbox.faults({"kind": "status", "status": 403, "requests": 1})
    await service.run_jobs()
    assert await service.status(student) == "failed"
    await service.call("POST", "/api/admin/milady/retry", json={"programSlug": BARBER.slug})
    await service.run_jobs()
    assert await service.status(student) == "withdrawn"
    assert await service.published(student) == ["enrolled", "failed", "withdrawn"]


async def test_a_withdrawal_of_an_enrollment_that_milady_does_not_have_succeeds(
    service: Service, sandbox: Sandbox
) -> None:
    student = Student(BARBER)
    await service.deliver(student.paid())
    await service.run_jobs()
    sandbox.reset()
    await service.deliver(student.refunded())
    await service.run_jobs()
    assert await service.status(student) == "withdrawn"


async def test_a_pause_keeps_the_enrollment(service: Service, sandbox: Sandbox) -> None:
    student = Student(BARBER)
    purchase = {"purchase_id": student.purchase_id, "student_id": student.id, "program": BARBER}
    missed = PaymentFailed(refs=PaymentRefs(invoice=f"in_{student.id}"), final=True, attempt=4, **purchase)
    await service.deliver(student.paid())
    await service.run_jobs()
    await service.deliver(missed)
    await service.run_jobs()
    assert sandbox.enrollments(student.id) == ["active"]


async def test_parallel_events_of_one_enrollment_end_in_one_enrollment(service: Service, sandbox: Sandbox) -> None:
    student = Student(BARBER)
    await asyncio.gather(*(service.deliver(student.paid()) for _ in range(8)), service.run_jobs(rounds=2))
    await service.run_jobs()
    assert sandbox.enrollments(student.id) == ["active"]
    assert await service.published(student) == ["enrolled"]


async def test_payments_and_refunds_racing_with_the_relay_end_withdrawn(service: Service, sandbox: Sandbox) -> None:
    students = [Student(BARBER) for _ in range(12)]

    async def live(student: Student) -> None:
        await service.deliver(student.paid())
        await service.deliver(student.refunded())

    async def relay() -> None:
        for _ in range(12):
            await service.run_jobs(rounds=1)

    sandbox.faults({"kind": "acts_then_times_out", "seconds": 0, "requests": 4, "methods": ["POST"]})
    await asyncio.gather(relay(), *(live(student) for student in students))
    await service.run_jobs()
    assert {await service.status(student) for student in students} == {"withdrawn"}
    assert all("active" not in sandbox.enrollments(student.id) for student in students)


@pytest.mark.parametrize("acted", [True, False])
async def test_an_erasure_does_not_break_an_enrollment_whose_response_was_lost(
    service: Service, sandbox: Sandbox, acted: bool
) -> None:
    """The provider knows the first attempt's Idempotency-Key with the student's name."""
    student = Student(BARBER)
    if acted:
        sandbox.faults({"kind": "acts_then_times_out", "seconds": 0, "requests": 1})
    else:
        sandbox.faults({"kind": "status", "status": 503, "requests": 1})
    await service.deliver(student.paid())
    await service.run_jobs(1)
    assert await service.status(student) == "wanted"
    async with service.database.transaction() as db:
        identifiers = frozenset({str(student.id), str(student.purchase_id)})
        await erase(db, PERSONAL, Person(id=student.id, identifiers=identifiers))
    assert not [row for row in await service.rows("SELECT payload FROM jobs") if "Sam Student" in str(row["payload"])]
    sandbox.faults()
    await service.run_jobs(5)
    assert await service.status(student) == "enrolled"
    assert await service.published(student) == ["enrolled"]
    assert len(sandbox.enrollments(student.id)) == 1
