"""Stripe guarantees neither order nor uniqueness: the outcome is the same in any order, with any duplicates."""

from __future__ import annotations

import asyncio

from tests.journeys.harness import School, count, metadata, unique
from tests.webhook_gateway import stripe_events as stripe


async def test_a_refund_that_arrives_before_its_payment_leaves_no_enrollment(school: School) -> None:
    student = school.student()
    intent, charge = unique("pi"), unique("ch")
    fields = {"metadata": metadata(student), "receipt_email": student.person.email}
    await school.webhook(stripe.event("charge.refunded", stripe.charge(id=charge, payment_intent=intent)))
    await asyncio.sleep(0.5)
    await school.webhook(
        stripe.event("payment_intent.succeeded", stripe.intent(id=intent, latest_charge=charge, **fields))
    )
    await student.enrollment_becomes("withdrawn")
    await asyncio.sleep(3)
    assert await student.instructors() == []
    assert [enrollment for enrollment in await student.milady_enrollments() if enrollment["status"] == "enrolled"] == []
    assert count(student.subjects(), "welcome") == 0


async def test_duplicated_and_shuffled_deliveries_have_one_effect(school: School) -> None:
    await school.stripe("/faults", {"duplicate": 3, "reorder_window": 12, "reorder_seed": 7}, method="PUT")
    students = [school.student() for _ in range(6)]
    await asyncio.gather(*(student.buys() for student in students))
    await school.stripe("/held/release")
    for student in students:
        await student.enrollment_becomes("active")
        await student.milady_becomes("enrolled")
        await student.mailed("welcome", "receipt")
    await school.deliveries_done()
    await asyncio.sleep(1)
    for student in students:
        assert len(await student.instructors()) == 1
        assert len(await student.milady_enrollments()) == 1
        subjects = student.subjects()
        assert (count(subjects, "welcome"), count(subjects, "receipt")) == (1, 1), subjects


async def test_events_that_arrive_before_our_api_call_returns(school: School) -> None:
    await school.stripe("/faults", {"before_answer": True}, method="PUT")
    student = school.student()
    await student.buys()
    await student.enrollment_becomes("active")
    await student.mailed("welcome", "receipt")


async def test_the_metadata_of_the_first_seed_system_is_sufficient(school: School) -> None:
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


async def test_a_payment_for_an_unknown_program_opens_nothing_until_the_program_is_added(school: School) -> None:
    student = school.student()
    slug = unique("underwater-welding").replace("_", "-")
    intent = stripe.intent(
        id=unique("pi"),
        latest_charge=unique("ch"),
        metadata=metadata(student, slug),
        receipt_email=student.person.email,
    )
    await school.webhook(stripe.event("payment_intent.succeeded", intent))
    await asyncio.sleep(2)
    assert await student.enrollment(slug) is None
    assert student.subjects() == []

    item = {"kind": "program", "slug": slug, "name": "Underwater Welding", "price": "4890.00"}
    added = await school.staff("admin").post("checkout", "/api/admin/items", item)
    assert added.is_success, added.text
    session = stripe.session(
        id=unique("cs_test"),
        payment_intent=intent["id"],
        metadata=metadata(student, slug),
        customer_details={"email": student.person.email, "name": student.person.name},
    )
    await school.webhook(stripe.event("checkout.session.completed", session))
    await student.enrollment_becomes("active", slug)
    await student.mailed("welcome")
    assert await student.instructors() == []

    # waiting students get the instructor who is added
    body = {"program_slug": slug, "name": "Ada Deep", "specialty": "Welding", "avatar": None, "capacity": 10}
    added = await school.staff("admin").post("instructor_assignment", "/api/admin/instructors", body)
    assert added.is_success, added.text
    assigned = await student.instructor_assigned()
    assert assigned["instructor"]["name"] == "Ada Deep"


async def test_checkout_refuses_an_unknown_program(school: School) -> None:
    body = {"programName": "X", "programSlug": "no-such-program", "price": 1, "paymentType": "full"}
    answer = await school.student().post("checkout", "/api/create-checkout-session", body)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_program")


async def test_milady_fails_and_recovers(school: School) -> None:
    down = [
        {"kind": "status", "status": 500, "requests": 2},
        {"kind": "acts_then_times_out", "requests": 1, "seconds": 0},
    ]
    await school.milady("PUT", "/faults", {"faults": down})
    student = school.student()
    await student.buys()
    await student.enrollment_becomes("active")
    await student.milady_becomes("enrolled")
    provider = await school.milady("GET", "/enrollments")
    assert sum(str(student.id) in str(each) for each in provider["items"]) == 1
