"""A place follows its seat: what is decided becomes a row, an event and a step to be done, in one transaction."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from contracts.milady_integration import MiladyEnrolled, MiladyEvent, MiladyFailed, MiladyWithdrawn
from kit.work import Work
from milady_integration import db, domain
from milady_integration.db import KnownSeat
from milady_integration.domain import Change, Mode, Place

ENROLL = "milady.enroll"
WITHDRAW = "milady.withdraw"
_KINDS = {domain.Step.ENROLL: ENROLL, domain.Step.WITHDRAW: WITHDRAW}


async def follow(work: Work, seat: KnownSeat, mode: Mode) -> Place | None:
    """Brings the place to where its seat wants it; returns it, if there is one. Under the seat's lock."""
    known = await db.read_place(work.db, seat.id)
    program = await db.program_of(work.db, seat.program.slug)
    place = known[0] if known else None
    served = program is not None and program.is_active
    change = domain.follow(wanted=seat.wanted, known=place, served=served, mode=mode)
    return place if change is None else await carry_out(work, seat, known, change)


async def carry_out(
    work: Work, seat: KnownSeat, known: tuple[Place, int] | None, change: Change, *, attempts: int = 1
) -> Place:
    """Writes the change, says what it says and wants the step that it begins. `attempts`: at the step that ended."""
    before, revision = known or (None, 0)
    # what happens hangs together with the payment that the seat came from, whoever has set it going
    work = replace(work, cause=work.cause or seat.cause)
    if change.says is not None:
        revision += 1
        event = _event(change.says, seat, change.place, attempts)
        await work.say(event, id=f"{seat.id}/{revision}/{event.type}", subject=_subject(seat, change.place))
    await db.write_place(work, seat, change.place, revision, is_new=before is None)
    if change.place.generation > (before.generation if before else 0):
        await _want_step(work, seat, change.place)
    return change.place


async def _want_step(work: Work, seat: KnownSeat, place: Place) -> None:
    if place.step is None:
        raise ValueError("a new generation without a step")
    program = await db.program_of(work.db, seat.program.slug)
    payload = {
        "student_id": str(seat.student_id),
        "program_slug": seat.program.slug,
        "generation": place.generation,
        # frozen here: the same Idempotency-Key must always come with the same request
        "course_ids": list(program.course_ids) if program else [],
        "name": seat.contact.name if seat.contact else None,
        "email": seat.contact.email if seat.contact else None,
    }
    if place.step is domain.Step.WITHDRAW:
        payload = {field: payload[field] for field in ("student_id", "program_slug", "generation")}
    await work.want(_KINDS[place.step], key=f"{seat.id}/{place.generation}", payload=payload)


def _subject(seat: KnownSeat, place: Place) -> str:
    return str(place.purchase_id or seat.id)


def _event(kind: type[MiladyEvent], seat: KnownSeat, place: Place, attempts: int) -> MiladyEvent:
    program = seat.program.model_copy(update={"provider": seat.program.provider or domain.PROVIDER})
    purchase_id: UUID | None = place.purchase_id
    if kind is MiladyFailed:
        return MiladyFailed(
            student_id=seat.student_id,
            program=program,
            purchase_id=purchase_id,
            code=place.failure or "unknown",
            attempts=attempts,
        )
    if place.milady_enrollment_id is None:
        raise ValueError("nothing to say about an enrollment without an id")
    if kind is MiladyWithdrawn:
        return MiladyWithdrawn(
            student_id=seat.student_id,
            program=program,
            purchase_id=purchase_id,
            milady_enrollment_id=place.milady_enrollment_id,
            reason=place.reason,
        )
    return MiladyEnrolled(
        student_id=seat.student_id,
        program=program,
        purchase_id=purchase_id,
        milady_enrollment_id=place.milady_enrollment_id,
        links=list(place.links),
    )
