"""Stripe promises neither order nor uniqueness: the same ends, whatever comes first and however often."""

from __future__ import annotations

import asyncio

from tests.journeys.school import School, count, metadata, unique
from tests.webhook_gateway import stripe_events as stripe


async def test_a_refund_that_arrives_before_its_payment_leaves_no_enrollment(school: School) -> None:
    student = school.student()
    intent, charge = unique("pi"), unique("ch")
    told = {"metadata": metadata(student), "receipt_email": student.person.email}
    await school.webhook(stripe.event("charge.refunded", stripe.charge(id=charge, payment_intent=intent)))
    await asyncio.sleep(0.5)
    await school.webhook(
        stripe.event("payment_intent.succeeded", stripe.intent(id=intent, latest_charge=charge, **told))
    )
    await student.enrollment_becomes("withdrawn")
    await asyncio.sleep(3)
    assert await student.instructors() == []
    assert [enrollment for enrollment in await student.milady_enrollments() if enrollment["status"] == "enrolled"] == []
    assert count(student.subjects(), "welcome") == 0


async def test_doubled_and_shuffled_deliveries_have_one_effect(school: School) -> None:
    await school.stripe("/faults", {"duplicate": 3, "reorder_window": 12, "reorder_seed": 7}, method="PUT")
    students = [school.student() for _ in range(6)]
    await asyncio.gather(*(student.buys() for student in students))
    await school.stripe("/held/release")
    for student in students:
        await student.enrollment_becomes("active")
        await student.milady_becomes("enrolled")
        await student.mailed("welcome", "receipt")
    await school.settled()
    await asyncio.sleep(1)
    for student in students:
        assert len(await student.instructors()) == 1
        assert len(await student.milady_enrollments()) == 1
        subjects = student.subjects()
        assert (count(subjects, "welcome"), count(subjects, "receipt")) == (1, 1), subjects


async def test_events_that_arrive_before_our_own_call_has_returned(school: School) -> None:
    await school.stripe("/faults", {"before_answer": True}, method="PUT")
    student = school.student()
    await student.buys()
    await student.enrollment_becomes("active")
    await student.mailed("welcome", "receipt")


async def test_the_first_seeds_metadata_is_enough_for_a_enrollment(school: School) -> None:
    student = school.student()
    intent = stripe.intent(id=unique("pi"), latest_charge=unique("ch"), metadata=metadata(student))
    session = stripe.session(
        id=unique("cs_test"),
        payment_intent=intent["id"],
        metadata=metadata(student),
        customer_details={"email": student.person.email, "name": student.person.name},
    )
    await school.webhook(stripe.event("payment_intent.succeeded", intent), times=3)
    await school.webhook(stripe.event("checkout.session.completed", session), times=2)
    await student.enrollment_becomes("active")
    await student.instructor_assigned()
    await student.milady_becomes("enrolled")
    subjects = await student.mailed("welcome", "receipt")
    await asyncio.sleep(3)
    subjects = student.subjects()
    assert (count(subjects, "welcome"), count(subjects, "receipt")) == (1, 1), subjects


async def test_a_program_that_nobody_knows_gets_a_enrollment_and_is_told_to_the_admins(school: School) -> None:
    student = school.student()
    slug = unique("underwater-welding")
    intent = stripe.intent(
        id=unique("pi"),
        latest_charge=unique("ch"),
        metadata=metadata(student, slug),
        receipt_email=student.person.email,
    )
    await school.webhook(stripe.event("payment_intent.succeeded", intent))
    await student.enrollment_becomes("active", slug)
    await student.mailed("welcome")
    assert await student.instructors() == []

    # an instructor for it is added: whoever waits is served
    body = {"program_slug": slug, "name": "Ada Deep", "specialty": "Welding", "avatar": None, "capacity": 10}
    added = await school.staff("admin").post("instructor_assignment", "/api/admin/instructors", body)
    assert added.is_success, added.text
    assigned = await student.instructor_assigned()
    assert assigned["instructor"]["name"] == "Ada Deep"


async def test_checkout_refuses_a_program_that_nobody_knows(school: School) -> None:
    body = {"programName": "X", "programSlug": "no-such-program", "price": 1, "paymentType": "full"}
    answer = await school.student().post("checkout", "/api/create-checkout-session", body)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_program")


async def test_milady_down_and_back(school: School) -> None:
    down = [
        {"kind": "status", "status": 500, "requests": 2},
        {"kind": "acts_then_times_out", "requests": 1, "seconds": 0},
    ]
    await school.milady("PUT", "/faults", {"faults": down})
    student = school.student()
    await student.buys()
    await student.enrollment_becomes("active")
    await student.milady_becomes("enrolled")
    theirs = await school.milady("GET", "/enrollments")
    assert sum(str(student.id) in str(each) for each in theirs["items"]) == 1
