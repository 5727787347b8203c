"""A place follows its enrollment: what is decided becomes a row, an event and a step to be done, in one transaction."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from contracts.milady_integration import MiladyEnrolled, MiladyEvent, MiladyFailed, MiladyWithdrawn
from kit.db.unit_of_work import UnitOfWork
from milady_integration import db, domain
from milady_integration.db import EnrollmentRecord
from milady_integration.domain import Change, Mode, Place

ENROLL = "milady.enroll"
WITHDRAW = "milady.withdraw"
_KINDS = {domain.Step.ENROLL: ENROLL, domain.Step.WITHDRAW: WITHDRAW}


async def follow(uow: UnitOfWork, enrollment: EnrollmentRecord, mode: Mode) -> Place | None:
    """Brings the place to where its enrollment wants it; returns it, if there is one. Under the enrollment's lock."""
    known = await db.read_place(uow.db, enrollment.id)
    program = await db.program_of(uow.db, enrollment.program.slug)
    place = known[0] if known else None
    served = program is not None and program.is_active
    change = domain.follow(wanted=enrollment.wanted, known=place, served=served, mode=mode)
    return place if change is None else await carry_out(uow, enrollment, known, change)


async def carry_out(
    uow: UnitOfWork, enrollment: EnrollmentRecord, known: tuple[Place, int] | None, change: Change, *, attempts: int = 1
) -> Place:
    """Writes the change, says what it says and wants the step that it begins. `attempts`: at the step that ended."""
    before, revision = known or (None, 0)
    # what happens hangs together with the payment that the enrollment came from, whoever has set it going
    uow = replace(uow, cause=uow.cause or enrollment.cause)
    if change.publishes is not None:
        revision += 1
        event = _event(change.publishes, enrollment, change.place, attempts)
        await uow.publish(
            event, id=f"{enrollment.id}/{revision}/{event.type}", subject=_subject(enrollment, change.place)
        )
    await db.write_place(uow, enrollment, change.place, revision, is_new=before is None)
    if change.place.generation > (before.generation if before else 0):
        await _want_step(uow, enrollment, change.place)
    return change.place


async def _want_step(uow: UnitOfWork, enrollment: EnrollmentRecord, place: Place) -> None:
    if place.step is None:
        raise ValueError("a new generation without a step")
    program = await db.program_of(uow.db, enrollment.program.slug)
    payload = {
        "student_id": str(enrollment.student_id),
        "program_slug": enrollment.program.slug,
        "generation": place.generation,
        # frozen here: the same Idempotency-Key must always come with the same request
        "course_ids": list(program.course_ids) if program else [],
        "name": enrollment.contact.name if enrollment.contact else None,
        "email": enrollment.contact.email if enrollment.contact else None,
    }
    if place.step is domain.Step.WITHDRAW:
        payload = {field: payload[field] for field in ("student_id", "program_slug", "generation")}
    await uow.enqueue(_KINDS[place.step], key=f"{enrollment.id}/{place.generation}", payload=payload)


def _subject(enrollment: EnrollmentRecord, place: Place) -> str:
    return str(place.purchase_id or enrollment.id)


def _event(kind: type[MiladyEvent], enrollment: EnrollmentRecord, place: Place, attempts: int) -> MiladyEvent:
    program = enrollment.program.model_copy(update={"provider": enrollment.program.provider or domain.PROVIDER})
    purchase_id: UUID | None = place.purchase_id
    if kind is MiladyFailed:
        return MiladyFailed(
            student_id=enrollment.student_id,
            program=program,
            purchase_id=purchase_id,
            code=place.failure or "unknown",
            attempts=attempts,
        )
    if place.milady_enrollment_id is None:
        raise ValueError("nothing to say about an enrollment without an id")
    if kind is MiladyWithdrawn:
        return MiladyWithdrawn(
            student_id=enrollment.student_id,
            program=program,
            purchase_id=purchase_id,
            milady_enrollment_id=place.milady_enrollment_id,
            reason=place.reason,
        )
    return MiladyEnrolled(
        student_id=enrollment.student_id,
        program=program,
        purchase_id=purchase_id,
        milady_enrollment_id=place.milady_enrollment_id,
        links=list(place.links),
    )
