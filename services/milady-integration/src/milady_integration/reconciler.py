"""Brings a provider enrollment in line with its enrollment: the row, its event and its job, in one transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from contracts.milady_integration import MiladyEnrolled, MiladyEvent, MiladyFailed, MiladyWithdrawn
from kit.db.unit_of_work import UnitOfWork
from milady_integration import domain, repository
from milady_integration.domain import PROVIDER, Change, EnrollmentRecord, Mode, ProviderEnrollment, Step

ENROLL = "milady.enroll"
WITHDRAW = "milady.withdraw"
_JOB_OF = {Step.ENROLL: ENROLL, Step.WITHDRAW: WITHDRAW}


async def reconcile(uow: UnitOfWork, enrollment: EnrollmentRecord, mode: Mode) -> ProviderEnrollment | None:
    """Returns the provider enrollment, or None if there is none. The caller holds the enrollment's lock."""
    existing = await repository.read_provider_enrollment(uow.db, enrollment.id)
    program = await repository.read_program(uow.db, enrollment.program_slug)
    served = program is not None and program.is_active
    change = domain.reconcile(enrollment=enrollment, existing=existing, served=served, mode=mode)
    return existing if change is None else await apply_change(uow, enrollment, existing, change)


async def apply_change(
    uow: UnitOfWork,
    enrollment: EnrollmentRecord,
    before: ProviderEnrollment | None,
    change: Change,
    *,
    attempts: int = 1,
) -> ProviderEnrollment:
    """Writes the row, publishes its event and enqueues the step that it starts.

    `attempts`: at the step that has ended. The caller holds the enrollment's lock.
    """
    after = change.after
    if uow.cause is None:  # an admin's request: its events belong to the payment that the enrollment came from
        uow = replace(uow, cause=await repository.read_cause(uow.db, enrollment.id))
    if change.event is not None:
        after = replace(after, revision=after.revision + 1)
        event = _event(change.event, enrollment, after, attempts)
        id = f"{enrollment.id}/{after.revision}/{event.type}"
        await uow.publish(event, id=id, subject=str(after.purchase_id or enrollment.id))
    await repository.write_provider_enrollment(uow, enrollment, after)
    if after.generation > (before.generation if before else 0):
        await _enqueue_step(uow, enrollment, after)
    return after


async def _enqueue_step(uow: UnitOfWork, enrollment: EnrollmentRecord, current: ProviderEnrollment) -> None:
    if current.step is None:
        raise ValueError("a new generation without a step")
    payload: dict[str, Any] = {
        "student_id": str(enrollment.student_id),
        "program_slug": enrollment.program_slug,
        "generation": current.generation,
    }
    if current.step is Step.ENROLL:
        program = await repository.read_program(uow.db, enrollment.program_slug)
        contact = await repository.contact_of(uow.db, enrollment)
        # copied now, because an Idempotency-Key must always come with the same request body
        payload |= {
            "course_ids": list(program.course_ids) if program else [],
            "name": contact.name if contact else None,
            "email": contact.email if contact else None,
        }
    await uow.enqueue(_JOB_OF[current.step], key=f"{enrollment.id}/{current.generation}", payload=payload)


def _event(
    kind: type[MiladyEvent], enrollment: EnrollmentRecord, current: ProviderEnrollment, attempts: int
) -> MiladyEvent:
    student_id, purchase_id = enrollment.student_id, current.purchase_id
    # an admin may have made it Milady's although the catalog names no provider
    program = enrollment.program.model_copy(update={"provider": enrollment.provider or PROVIDER})
    if kind is MiladyFailed:
        return MiladyFailed(
            student_id=student_id,
            program=program,
            purchase_id=purchase_id,
            revision=current.revision,
            code=current.failure or "unknown",
            attempts=attempts,
        )
    if current.milady_enrollment_id is None:
        raise ValueError(f"{kind.type} without a milady_enrollment_id")
    if kind is MiladyWithdrawn:
        return MiladyWithdrawn(
            student_id=student_id,
            program=program,
            purchase_id=purchase_id,
            revision=current.revision,
            milady_enrollment_id=current.milady_enrollment_id,
            reason=current.reason,
        )
    return MiladyEnrolled(
        student_id=student_id,
        program=program,
        purchase_id=purchase_id,
        revision=current.revision,
        milady_enrollment_id=current.milady_enrollment_id,
        links=list(current.links),
    )
