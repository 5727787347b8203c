"""Payments, refunds and admins, against rows and events on a real database."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from tests.instructor_assignment.harness import Service, Student, envelope, new_program

from contracts.payments import PaymentFailed, PaymentRefs
from contracts.people import ItemKind, ItemRef, Program
from instructor_assignment.projection import assignments_of
from kit.db.unit_of_work import UnitOfWork, utc_now
from ledger.policy import DEFAULT_POLICY


async def test_a_paid_enrollment_gets_an_instructor_once(service: Service) -> None:
    program = new_program()
    await service.add(program, "Ada")
    student = Student(program)
    await service.deliver(student.paid(), student.paid(), student.paid())
    row = await service.assignment(student)
    assert row and (row["status"], row["name"], row["purchase_id"]) == ("assigned", "Ada", student.purchase_id)
    assert await service.published(student) == ["assigned"]


async def test_a_redelivery_changes_nothing(service: Service) -> None:
    program = new_program()
    await service.add(program, "Ada")
    student = Student(program)
    event = envelope(student.paid())
    await service.deliver(event, event)
    assert await service.published(student) == ["assigned"]


async def test_the_event_names_the_instructor_and_the_payment_it_came_from(service: Service) -> None:
    program = new_program()
    await service.add(program, "Ada")
    student = Student(program)
    event = envelope(student.paid())
    await service.deliver(event)
    (row,) = await service.rows(
        "SELECT message_key, headers, convert_from(body, 'UTF8')::jsonb AS body FROM outbox_messages "
        "WHERE convert_from(body, 'UTF8')::jsonb ->> 'student_id' = :student",
        student=str(student.id),
    )
    assert row["headers"]["cloudEvents:subject"] == str(student.purchase_id)
    assert row["headers"]["cloudEvents:causationid"] == event.id
    assert row["body"]["instructor"]["name"] == "Ada"
    assert row["message_key"] == f"{row['body']['assignment_id']}/1/instructor.assigned.v1"


@pytest.mark.parametrize("kind", ["product", "service", "membership"])
async def test_an_item_that_is_not_taught_gets_no_instructor(service: Service, kind: ItemKind) -> None:
    """Even if there is one, and no event is published about a missing one."""
    for staffed in (False, True):
        program = new_program().model_copy(update={"kind": kind})
        if staffed:
            await service.add(program, "Ada")
        student = Student(program)
        await service.deliver(student.paid(), student.refunded())
        student.buys_again()
        await service.deliver(student.paid())
        assert await service.assignment(student) is None
        assert await service.published(student) == []


@pytest.mark.parametrize("kind", [None, "program", "track", "course"])
async def test_an_item_that_is_taught_gets_an_instructor(service: Service, kind: ItemKind | None) -> None:
    program = new_program().model_copy(update={"kind": kind})
    await service.add(program, "Ada")
    student = Student(program)
    await service.deliver(student.paid())
    assert await service.published(student) == ["assigned"]


async def test_only_the_taught_parts_of_a_bundle_get_an_instructor(service: Service) -> None:
    course, book = new_program(), new_program().model_copy(update={"kind": "product"})
    await service.add(course, "Ada")
    parts = tuple(ItemRef.model_validate(part.model_dump(exclude={"includes"})) for part in (course, book))
    student = Student(Program(slug=f"both-{course.slug}", id="both", kind="bundle", includes=parts))
    await service.deliver(student.paid())
    assert await service.published(student) == ["assigned"]
    student.program = book
    assert await service.assignment(student) is None
    student.program = course
    assert await service.status(student) == "assigned"
    await service.deliver(student.refunded())
    assert await service.published(student) == ["assigned", "released"]


async def test_a_wait_is_published_once_and_ends_when_an_instructor_has_capacity(service: Service) -> None:
    program = new_program()
    first, second = Student(program), Student(program)
    await service.deliver(first.paid(), first.paid(), second.paid())
    assert await service.status(first) == await service.status(second) == "waiting"
    assert await service.published(first) == ["unavailable"]

    await service.add(program, "Ada", capacity=1)
    assert await service.status(first) == "assigned", "the longest wait is served first"
    assert await service.status(second) == "waiting"

    await service.add(program, "Ben", capacity=0)
    assert await service.status(second) == "waiting"
    (ben,) = (
        i
        for i in (await service.call("GET", f"/api/admin/instructors?program_slug={program.slug}")).json()["items"]
        if i["name"] == "Ben"
    )
    await service.call("PATCH", f"/api/admin/instructors/{ben['id']}", json={"capacity": 1})
    assert await service.status(second) == "assigned"
    assert await service.published(second) == ["unavailable", "assigned"]


async def test_an_activated_instructor_takes_the_waiting_students(service: Service) -> None:
    program = new_program()
    ada = await service.add(program, "Ada", is_active=False)
    student = Student(program)
    await service.deliver(student.paid())
    assert await service.status(student) == "waiting"
    await service.call("PATCH", f"/api/admin/instructors/{ada}", json={"is_active": True})
    assert await service.status(student) == "assigned"


async def test_a_late_assignment_still_belongs_to_the_payment(service: Service) -> None:
    program = new_program()
    student = Student(program)
    event = envelope(student.paid())
    await service.deliver(event)
    await service.add(program, "Ada")
    (row,) = await service.rows(
        "SELECT headers FROM outbox_messages WHERE routing_key = 'instructor.assigned.v1' "
        "AND convert_from(body, 'UTF8')::jsonb ->> 'student_id' = :student",
        student=str(student.id),
    )
    assert row["headers"]["cloudEvents:correlationid"] == event.id


async def test_a_refund_releases_the_instructor_for_a_waiting_student(service: Service) -> None:
    program = new_program()
    await service.add(program, "Ada", capacity=1)
    leaver, waiter = Student(program), Student(program)
    await service.deliver(leaver.paid(), waiter.paid())
    assert await service.status(waiter) == "waiting"
    await service.deliver(leaver.refunded())
    assert (await service.status(leaver), await service.status(waiter)) == ("released", "assigned")
    assert await service.published(leaver) == ["assigned", "released"]
    assert await service.published(waiter) == ["unavailable", "assigned"]


async def test_a_refund_ends_the_wait(service: Service) -> None:
    program = new_program()
    student = Student(program)
    await service.deliver(student.paid(), student.refunded())
    await service.add(program, "Ada")
    assert await service.status(student) == "released"
    assert await service.published(student) == ["unavailable"]


async def test_a_refund_that_comes_first_leaves_nobody_assigned(service: Service) -> None:
    program = new_program()
    await service.add(program, "Ada")
    student = Student(program)
    await service.deliver(student.refunded(), student.paid())
    assert await service.status(student) == "released"
    assert await service.published(student) == []


async def test_a_partial_refund_changes_nothing(service: Service) -> None:
    program = new_program()
    await service.add(program, "Ada")
    student = Student(program)
    await service.deliver(student.paid(), student.refunded(1))
    assert await service.published(student) == ["assigned"]


async def test_bought_again_is_assigned_again(service: Service) -> None:
    program = new_program()
    await service.add(program, "Ada")
    student = Student(program)
    await service.deliver(student.paid(), student.refunded())
    student.buys_again()
    await service.deliver(student.paid())
    assert await service.status(student) == "assigned"
    assert await service.published(student) == ["assigned", "released", "assigned"]
    assert (await service.assignment(student) or {})["purchase_id"] == student.purchase_id


async def test_a_pause_keeps_the_instructor(service: Service) -> None:
    program = new_program()
    await service.add(program, "Ada")
    student = Student(program)
    missed = PaymentFailed(
        refs=PaymentRefs(invoice=f"in_{student.id}"),
        final=True,
        attempt=4,
        purchase_id=student.purchase_id,
        student_id=student.id,
        program=program,
    )
    await service.deliver(student.paid(), missed)
    assert await service.status(student) == "assigned"
    assert await service.published(student) == ["assigned"]


async def test_a_pending_payment_assigns_nobody(service: Service) -> None:
    student = Student(new_program())
    await service.deliver(student.pending())
    assert await service.status(student) is None
    await service.deliver(student.paid())
    assert await service.status(student) == "waiting"


async def test_deactivating_an_instructor_reassigns_the_students_or_lets_them_wait(service: Service) -> None:
    program = new_program()
    ada = await service.add(program, "Ada", capacity=2)
    students = [Student(program), Student(program)]
    await service.deliver(*(student.paid() for student in students))
    await service.add(program, "Ben", capacity=1)
    changed = await service.call("PATCH", f"/api/admin/instructors/{ada}", json={"is_active": False})
    assert changed.json()["students"] == 0
    assert await service.loads(program) == {"Ada": 0, "Ben": 1}
    assert [await service.status(student) for student in students] == ["assigned", "waiting"]
    assert await service.published(students[0]) == ["assigned", "released", "assigned"]
    assert await service.published(students[1]) == ["assigned", "released", "unavailable"]


async def test_an_instructor_is_removed_only_if_all_students_can_be_reassigned(service: Service) -> None:
    program = new_program()
    ada = await service.add(program, "Ada", capacity=2)
    students = [Student(program), Student(program)]
    await service.deliver(*(student.paid() for student in students))
    refused = await service.call("DELETE", f"/api/admin/instructors/{ada}")
    assert (refused.status_code, refused.json()["code"]) == (409, "instructor_has_students")
    assert refused.json()["students"] == 2
    assert await service.loads(program) == {"Ada": 2}, "a refusal leaves everything as it was"

    await service.add(program, "Ben", capacity=2)
    gone = await service.call("DELETE", f"/api/admin/instructors/{ada}/")
    assert (gone.status_code, gone.content) == (204, b"")
    assert await service.loads(program) == {"Ben": 2}
    assert (await service.call("DELETE", f"/api/admin/instructors/{ada}")).status_code == 404


async def test_parallel_payments_stay_balanced_and_within_the_capacity(service: Service) -> None:
    program = new_program()
    for name, capacity in (("Ada", 10), ("Ben", 10), ("Cid", 5)):
        await service.add(program, name, capacity)
    students = [Student(program) for _ in range(40)]
    await asyncio.gather(*(service.deliver(student.paid(), student.paid()) for student in students))
    assert await service.loads(program) == {"Ada": 10, "Ben": 10, "Cid": 5}
    statuses = [await service.status(student) for student in students]
    assert (statuses.count("assigned"), statuses.count("waiting")) == (25, 15)

    some = [student for student, status in zip(students, statuses, strict=True) if status == "assigned"][:10]
    await asyncio.gather(
        *(service.deliver(student.refunded()) for student in some),
        service.add(program, "Dan", 2),
        *(service.deliver(Student(program).paid()) for _ in range(5)),
    )
    assert await service.loads(program) == {"Ada": 10, "Ben": 10, "Cid": 5, "Dan": 2}
    (waiting,) = await service.rows(
        "SELECT count(*) AS n FROM ai_instructor_assignments WHERE program_slug = :slug AND status = 'waiting'",
        slug=program.slug,
    )
    assert waiting["n"] == 40 + 5 - 10 - 27


async def test_loads_are_balanced_in_proportion_to_the_capacities(service: Service) -> None:
    program = new_program()
    for name, capacity in (("Ada", 20), ("Ben", 20), ("Cid", 10)):
        await service.add(program, name, capacity)
    await asyncio.gather(*(service.deliver(Student(program).paid()) for _ in range(25)))
    loads = await service.loads(program)
    assert sum(loads.values()) == 25
    shares = sorted((loads["Ada"] / 20, loads["Ben"] / 20, loads["Cid"] / 10))
    assert all(b - a <= 0.1 for a, b in pairwise(shares)), loads


async def test_a_payment_and_a_new_instructor_never_miss_each_other(service: Service) -> None:
    for _ in range(10):
        program = new_program()
        student = Student(program)
        await asyncio.gather(service.deliver(student.paid()), service.add(program, "Ada"))
        assert await service.status(student) == "assigned"


async def test_in_one_batch_a_released_instructor_goes_to_the_longest_wait_of_the_same_program(
    service: Service,
) -> None:
    full, other = new_program(), new_program()
    await service.add(full, "Ada", capacity=1)
    await service.add(other, "Ben", capacity=2)
    leaving, first, second = Student(full), Student(full), Student(full)
    paid = envelope(first.paid())
    await service.deliver(leaving.paid(), paid, second.paid())
    new, elsewhere, third = Student(full), Student(other), Student(other)
    events = [envelope(event) for event in (new.paid(), elsewhere.paid(), leaving.refunded(), third.paid())]
    async with service.database.transaction() as db:
        uow = UnitOfWork(db=db, source="instructor-assignment", now=utc_now())
        await assignments_of(DEFAULT_POLICY).apply_all(uow, events)
    students = (leaving, first, second, new, elsewhere, third)
    found = [await service.status(student) for student in students]
    assert found == ["released", "assigned", "waiting", "waiting", "assigned", "assigned"]
    assert await service.loads(full) == {"Ada": 1}
    assert await service.loads(other) == {"Ben": 2}
    (row,) = await service.rows(
        "SELECT headers FROM outbox_messages WHERE routing_key = 'instructor.assigned.v1' "
        "AND convert_from(body, 'UTF8')::jsonb ->> 'student_id' = :student",
        student=str(first.id),
    )
    assert row["headers"]["cloudEvents:correlationid"] == paid.id, "it belongs to the student's own payment"
