"""After a change of the policy, students have the instructors that a new service would have given them."""

from __future__ import annotations

from tests.instructor_assignment.harness import Service, Student, new_program

from instructor_assignment import consumers
from instructor_assignment.projection import assignments_of
from kit.messaging.refold import Refolded, refold
from ledger.facts import enrollment_pattern
from ledger.policy import DEFAULT_POLICY, Policy

STRICT = Policy(full_refund_percent=50)


async def _refold(service: Service, slug: str, policy: Policy) -> Refolded:
    projection = assignments_of(policy)
    pattern = enrollment_pattern(None, slug)
    return await refold(service.database, projection.apply_all, service="instructor-assignment", pattern=pattern)


async def test_instructors_are_released_and_assigned_under_the_programs_lock(service: Service) -> None:
    program = new_program()
    await service.add(program, "Ada", capacity=1)
    first, waiting = Student(program), Student(program)
    await service.deliver(first.paid(1_000), first.refunded(600), waiting.paid())
    assert (await service.status(first), await service.status(waiting)) == ("assigned", "waiting")

    result = await _refold(service, program.slug, STRICT)
    assert (result.groups, result.rows) == (2, 1)
    assert (await service.status(first), await service.status(waiting)) == ("released", "assigned")
    assert result.events == 2, "the release, and the assignment of the student who waited"
    assert await service.loads(program) == {"Ada": 1}
    assert (await _refold(service, program.slug, STRICT)).events == 0

    await _refold(service, program.slug, DEFAULT_POLICY)
    assert (await service.status(first), await service.status(waiting)) == ("waiting", "assigned")
    assert await service.published(first) == ["assigned", "released", "unavailable"]
    assert await service.published(waiting) == ["unavailable", "assigned"]


async def test_the_statuses_are_those_of_a_new_service(service: Service) -> None:
    """The same histories, once with the policy changed afterwards, and once with the changed policy from the start."""
    old, new = new_program(), new_program()
    for program in (old, new):
        await service.add(program, "Ada", capacity=100)
    refunds = (0, 200, 499, 500, 700, 950, 1_000)
    lived, fresh = ([Student(program) for _ in refunds] for program in (old, new))
    usual, service.consumer = service.consumer, consumers.payments(STRICT)
    for student, refunded in zip(fresh, refunds, strict=True):
        await service.deliver(student.paid(1_000), student.refunded(refunded))
    service.consumer = usual
    for student, refunded in zip(lived, refunds, strict=True):
        await service.deliver(student.paid(1_000), student.refunded(refunded))
    await _refold(service, old.slug, STRICT)
    statuses = [await service.status(student) for student in lived]
    assert statuses == [await service.status(student) for student in fresh]
    assert statuses == ["assigned"] * 3 + ["released"] * 4
