"""Brings provider enrollments in line with their enrollments: the row, its event and its job, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from contracts.milady_integration import MiladyEnrolled, MiladyEvent, MiladyFailed, MiladyWithdrawn
from contracts.people import Contact
from kit.db.unit_of_work import UnitOfWork
from kit.runtime.trace import Cause
from milady_integration import domain, repository
from milady_integration.domain import PROVIDER, Change, EnrollmentRecord, MiladyProgram, Mode, ProviderEnrollment, Step

ENROLL = "milady.enroll"
WITHDRAW = "milady.withdraw"
_JOB_OF = {Step.ENROLL: ENROLL, Step.WITHDRAW: WITHDRAW}


@dataclass(frozen=True, kw_only=True)
class Transition:
    """A change of a provider enrollment. `attempts`: at the step that has ended.

    `cause`: the event that it belongs to; None for an admin's request, which belongs to the payment that the enrollment
    came from.
    """

    enrollment: EnrollmentRecord
    before: ProviderEnrollment | None
    change: Change
    cause: Cause | None
    attempts: int = 1

    @property
    def starts_step(self) -> bool:
        return self.change.after.generation > (self.before.generation if self.before else 0)


async def reconcile(uow: UnitOfWork, enrollment: EnrollmentRecord, mode: Mode) -> ProviderEnrollment | None:
    """Returns the provider enrollment, or None if there is none. The caller holds the enrollment's lock."""
    programs = await repository.read_programs(uow.db, [enrollment.program_slug])
    return (await reconcile_all(uow, [(enrollment, uow.cause)], programs, mode)).get(enrollment.id)


async def reconcile_all(
    uow: UnitOfWork,
    enrollments: Sequence[tuple[EnrollmentRecord, Cause | None]],
    programs: Mapping[str, MiladyProgram],
    mode: Mode,
) -> Mapping[UUID, ProviderEnrollment]:
    """The same for enrollments of these programs, each for its cause, with each statement once for all of them."""
    found = await repository.read_provider_enrollments(uow.db, [enrollment.id for enrollment, _ in enrollments])
    transitions = []
    for enrollment, cause in enrollments:
        program, before = programs.get(enrollment.program_slug), found.get(enrollment.id)
        served = program is not None and program.is_active
        change = domain.reconcile(enrollment=enrollment, existing=before, served=served, mode=mode)
        if change is not None:
            transitions.append(Transition(enrollment=enrollment, before=before, change=change, cause=cause))
    return {**found, **await _apply(uow, transitions, programs)}


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
    transition = Transition(enrollment=enrollment, before=before, change=change, cause=uow.cause, attempts=attempts)
    programs = await repository.read_programs(uow.db, [enrollment.program_slug]) if transition.starts_step else {}
    return (await _apply(uow, [transition], programs))[enrollment.id]


async def _apply(
    uow: UnitOfWork, transitions: Sequence[Transition], programs: Mapping[str, MiladyProgram]
) -> Mapping[UUID, ProviderEnrollment]:
    without_cause = [each.enrollment.id for each in transitions if each.cause is None]
    causes = await repository.read_causes(uow.db, without_cause) if without_cause else {}
    steps = [each.enrollment for each in transitions if each.starts_step and each.change.after.step is Step.ENROLL]
    contacts = await repository.contacts_of(uow.db, steps)
    written = []
    for each in transitions:
        enrollment, after = each.enrollment, each.change.after
        caused = replace(uow, cause=each.cause or causes.get(enrollment.id))
        if each.change.event is not None:
            after = replace(after, revision=after.revision + 1)
            event = _event(each.change.event, enrollment, after, each.attempts)
            id = f"{enrollment.id}/{after.revision}/{event.type}"
            await caused.publish(event, id=id, subject=str(after.purchase_id or enrollment.id))
        if each.starts_step:
            program, contact = programs.get(enrollment.program_slug), contacts.get(enrollment.id)
            await _enqueue_step(caused, enrollment, after, program, contact)
        written.append((enrollment, after))
    await repository.write_provider_enrollments(uow, written)
    return {enrollment.id: after for enrollment, after in written}


async def _enqueue_step(
    uow: UnitOfWork,
    enrollment: EnrollmentRecord,
    current: ProviderEnrollment,
    program: MiladyProgram | None,
    contact: Contact | None,
) -> None:
    if current.step is None:
        raise ValueError("a new generation without a step")
    payload: dict[str, Any] = {
        "student_id": str(enrollment.student_id),
        "program_slug": enrollment.program_slug,
        "generation": current.generation,
    }
    if current.step is Step.ENROLL:
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
