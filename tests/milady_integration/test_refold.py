"""After a change of the policy, the course provider has the students that a new service would have enrolled."""

from __future__ import annotations

from tests.milady_integration.harness import Service, Student, new_program

from contracts.payments import PaymentDisputeClosed, PaymentRefs
from kit.messaging.refold import Refolded, refold
from ledger.facts import enrollment_pattern
from ledger.policy import DEFAULT_POLICY, Policy
from milady_integration.projection import enrollments_of

TOLERANT = Policy(lost_dispute_withdraws=False)


async def _refold(service: Service, student: Student, policy: Policy) -> Refolded:
    projection = enrollments_of(policy, service.mode)
    pattern = enrollment_pattern(str(student.id), student.program.slug)
    return await refold(service.database, projection.apply_all, service="milady-integration", pattern=pattern)


async def test_a_tolerated_dispute_enrolls_again_and_only_once(service: Service) -> None:
    student = Student(new_program())
    paid = student.paid()
    lost = PaymentDisputeClosed.model_validate(
        {"refs": PaymentRefs(payment_intent=paid.refs.payment_intent), "dispute_id": f"du_{student.id}"}
        | {"status": "lost", "reason": "fraudulent", "amount": {"amount": 489_000, "currency": "usd"}}
    )
    await service.deliver(paid)
    await service.run_jobs()
    await service.deliver(lost)
    await service.run_jobs()
    assert await service.status(student) == "withdrawn"

    assert (await _refold(service, student, TOLERANT)).rows == 1
    await service.run_jobs()
    assert await service.status(student) == "enrolled"
    assert (await _refold(service, student, TOLERANT)).rows == 0
    await service.run_jobs()
    assert service.sandbox.enrollments(student.id).count("active") == 1
    assert await service.published(student) == ["enrolled", "withdrawn", "enrolled"]

    await _refold(service, student, DEFAULT_POLICY)
    await service.run_jobs()
    assert await service.status(student) == "withdrawn"
