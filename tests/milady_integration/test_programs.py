"""Programs that become Milady's, or stop being active, before and after their students have paid."""

from __future__ import annotations

import asyncio

from tests.milady_integration.harness import COURSES, Sandbox, Service, Student, envelope, new_program


async def test_a_program_without_a_provider_is_not_enrolled(service: Service) -> None:
    student = Student(new_program(provider=None))
    await service.deliver(student.paid())
    await service.run_jobs()
    assert await service.status(student) is None
    assert service.sandbox.enrollments(student.id) == []


async def test_a_program_that_becomes_miladys_enrolls_those_who_paid_before(service: Service, sandbox: Sandbox) -> None:
    program = new_program(provider=None)
    early, gone = Student(program), Student(program)
    await service.deliver(early.paid(), gone.paid(), gone.refunded())
    await service.run_jobs()
    assert await service.status(early) is None

    late = Student(program.model_copy(update={"provider": "milady"}))
    await service.deliver(late.starts())
    await service.run_jobs()
    assert [await service.status(s) for s in (early, gone, late)] == ["enrolled", "withdrawn", None]
    assert sandbox.enrollments(early.id) == ["active"]
    assert await service.published(early) == ["enrolled"]
    assert (sandbox.enrollments(gone.id), await service.published(gone)) == ([], [])


async def test_a_payment_event_names_the_provider_too(service: Service) -> None:
    program = new_program(provider=None)
    early = Student(program)
    await service.deliver(early.paid())
    late = Student(program.model_copy(update={"provider": "Milady"}))
    await service.deliver(late.paid())
    await service.run_jobs()
    assert [await service.status(s) for s in (early, late)] == ["enrolled", "enrolled"]


async def test_an_admin_makes_a_program_miladys(service: Service, sandbox: Sandbox) -> None:
    program = new_program(provider=None)
    student = Student(program)
    await service.deliver(student.paid())
    saved = await service.call(
        "PUT", f"/api/admin/milady/programs/{program.slug}", json={"title": "Cosmetology", "courses": COURSES}
    )
    assert saved.status_code == 200, saved.text
    await service.run_jobs()
    assert [course[0] for course in sandbox.enrollment(student.id)["courses"]] == ["milady-cosmetology"]
    (event,) = await service.rows(
        "SELECT convert_from(body, 'UTF8')::jsonb AS body FROM outbox_messages "
        "WHERE convert_from(body, 'UTF8')::jsonb ->> 'student_id' = :student",
        student=str(student.id),
    )
    assert event["body"]["program"]["provider"] == "milady"


async def test_concurrent_payments_and_a_new_program_miss_nobody(service: Service) -> None:
    for _ in range(5):
        program = new_program(provider=None)
        students = [Student(program) for _ in range(6)]
        first = Student(program.model_copy(update={"provider": "milady"}))
        await asyncio.gather(
            *(service.deliver(student.paid()) for student in students[:3]),
            service.deliver(first.paid()),
            service.run_jobs(rounds=3),
            *(service.deliver(student.paid()) for student in students[3:]),
        )
        await service.run_jobs()
        assert [await service.status(student) for student in (*students, first)] == ["enrolled"] * 7


async def test_adopting_a_program_waits_for_a_payment_that_has_not_seen_it(
    service: Service,
) -> None:
    program = new_program(provider=None)
    early, first = Student(program), Student(program.model_copy(update={"provider": "milady"}))
    async with service.database.transaction() as db:
        await service.handle(envelope(early.paid()), db)  # has read that the program has no provider
        adopting = asyncio.create_task(_enroll(service, first))
        await asyncio.sleep(0.5)
        assert not adopting.done()
    await adopting
    assert [await service.status(student) for student in (early, first)] == ["enrolled", "enrolled"]


async def _enroll(service: Service, student: Student) -> None:
    await service.deliver(student.paid())
    await service.run_jobs()


async def test_an_inactive_program_enrolls_nobody_until_it_is_active(service: Service) -> None:
    program = new_program()
    path, body = f"/api/admin/milady/programs/{program.slug}", {"title": "T", "courses": COURSES}
    await service.call("PUT", path, json=body)
    before, after = Student(program), Student(program)
    await service.deliver(before.paid())
    await service.run_jobs()
    await service.call("PUT", path, json={**body, "is_active": False})
    await service.deliver(after.paid(), before.refunded())
    await service.run_jobs()
    assert [await service.status(s) for s in (before, after)] == ["withdrawn", None]
    await service.call("PUT", path, json=body)
    await service.run_jobs()
    assert [await service.status(s) for s in (before, after)] == ["withdrawn", "enrolled"]
