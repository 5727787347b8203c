"""Programs, enrollments and provider enrollments in the database.

Locks, in this order: the facts' group, the program (shared to check whether it is Milady's, exclusive to
adopt its enrollments), the enrollment (to change its provider enrollment), the rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Row, Text, Uuid, and_, any_, bindparam, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.checkout import PurchaseCreated, StudentUpdated
from contracts.envelope import Envelope
from contracts.milady_integration import CourseLink
from contracts.people import Contact, Program, enrollment_uuid
from kit.db.unit_of_work import UnitOfWork
from kit.runtime.trace import Cause, cause_of
from ledger.standing import Standing
from milady_integration.domain import (
    DesiredState,
    EnrollmentRecord,
    MiladyProgram,
    ProviderEnrollment,
    Status,
    Step,
    is_milady_program,
)
from milady_integration.tables import contacts, enrollments, milady_programs, provider_enrollments

ADOPT = "milady.adopt"
"""The job for a program that has become Milady's: it enrolls the students who have paid for it already."""

_SLUGS = any_(bindparam("slugs", type_=ARRAY(Text)))
_IDS = any_(bindparam("ids", type_=ARRAY(Uuid)))
_STUDENTS = any_(bindparam("students", type_=ARRAY(Uuid)))
_READ_PROGRAMS = select(milady_programs).where(milady_programs.c.program_slug == _SLUGS)
_READ_CONTACTS = select(contacts).where(contacts.c.student_id == _STUDENTS)
_READ_ENROLLMENTS = select(enrollments).where(enrollments.c.id == _IDS)
_READ_CAUSES = select(enrollments.c.id, enrollments.c.cause).where(enrollments.c.id == _IDS)
_READ_PROVIDER_ENROLLMENTS = select(provider_enrollments).where(provider_enrollments.c.id == _IDS)
_ADD_ENROLLMENTS = insert(enrollments).on_conflict_do_nothing()
_CONTACT = insert(contacts)
_WRITE_CONTACTS = _CONTACT.on_conflict_do_update(
    index_elements=["student_id"],
    set_={name: _CONTACT.excluded[name] for name in ("name", "email", "as_of")},
    where=contacts.c.as_of <= _CONTACT.excluded.as_of,
)
_NEW = insert(provider_enrollments)
_FIXED = ("id", "student_id", "program_slug", "created_at")
_WRITE_PROVIDER_ENROLLMENTS = _NEW.on_conflict_do_update(
    index_elements=["id"], set_={column.name: column for column in _NEW.excluded if column.name not in _FIXED}
)


def program_lock(slug: str) -> str:
    return f"milady/{slug}"


def enrollment_lock(slug: str, student_id: UUID) -> str:
    """Sorts after its program's, so that locks taken in the order of their names never deadlock."""
    return f"{program_lock(slug)}/{student_id}"


async def lock_program(db: AsyncConnection, slug: str) -> None:
    """Exclusive, until the transaction ends."""
    await _lock(db, program_lock(slug))


async def lock_enrollment(db: AsyncConnection, student_id: UUID, slug: str) -> None:
    await _lock(db, enrollment_lock(slug, student_id))


async def _lock(db: AsyncConnection, name: str) -> None:
    await db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


async def register_programs(
    uow: UnitOfWork, named: Sequence[tuple[Program, Cause | None]]
) -> Mapping[str, MiladyProgram]:
    """Adds those of the programs that events name as Milady's. What an admin has changed about one stays.

    Returns, by slug, those of the programs that are Milady's now.
    """
    slugs = {program.slug for program, _ in named}
    found = await read_programs(uow.db, slugs)
    new = {
        program.slug: (program, cause)
        for program, cause in reversed(named)  # the first one counts
        if is_milady_program(program) and (program.slug not in found or found[program.slug].program_id is None)
    }
    for slug in sorted(new):
        program, cause = new[slug]
        await _register_program(replace(uow, cause=cause), program, exists=slug in found)
    return await read_programs(uow.db, slugs) if new else found


async def _register_program(uow: UnitOfWork, program: Program, *, exists: bool) -> None:
    if exists:
        is_nameless = (milady_programs.c.program_slug == program.slug, milady_programs.c.program_id.is_(None))
        await uow.db.execute(update(milady_programs).where(*is_nameless).values(program_id=program.id))
        return
    row = insert(milady_programs).values(
        program_slug=program.slug,
        program_id=program.id,
        title=program.title,
        courses=[],
        is_active=True,
        revision=1,
    )
    if (await uow.db.execute(row.on_conflict_do_nothing())).rowcount:
        await uow.enqueue(ADOPT, key=f"{program.slug}/1", payload={"program_slug": program.slug})


async def read_programs(db: AsyncConnection, slugs: Collection[str]) -> Mapping[str, MiladyProgram]:
    """By slug, those that are Milady's."""
    return {
        row.program_slug: MiladyProgram(
            slug=row.program_slug,
            program_id=row.program_id,
            course_ids=tuple(course["id"] for course in row.courses),
            is_active=row.is_active,
        )
        for row in await db.execute(_READ_PROGRAMS, {"slugs": list(slugs)})
    }


async def insert_unpaid_enrollments(uow: UnitOfWork, events: Sequence[Envelope[PurchaseCreated]]) -> None:
    """Enrollments of purchases that were started and not paid for. A row that exists stays as it is."""
    rows: list[dict[str, Any]] = [
        {
            "id": enrollment_uuid(event.data.student_id, program.slug),
            "student_id": event.data.student_id,
            "program_slug": program.slug,
            "program_id": program.id,
            "program_name": program.name,
            "provider": program.provider,
            "standing": Standing.NONE.value,
            "purchase_id": event.data.purchase_id,
            "cause": asdict(cause_of(event)),
            "created_at": uow.now,
            "updated_at": uow.now,
        }
        for event in events
        for program in event.data.program.parts
    ]
    if rows:  # in this order, so that two transactions do not wait for each other
        await uow.db.execute(_ADD_ENROLLMENTS, sorted(rows, key=lambda row: row["id"]))


async def read_causes(db: AsyncConnection, ids: Collection[UUID]) -> Mapping[UUID, Cause]:
    """By enrollment: the event that last changed it."""
    rows = await db.execute(_READ_CAUSES, {"ids": list(ids)})
    return {row.id: Cause(**row.cause) for row in rows if row.cause}


async def read_enrollment(db: AsyncConnection, id: UUID) -> EnrollmentRecord | None:
    return next(iter(await read_enrollments(db, [id])), None)


async def read_enrollments(db: AsyncConnection, ids: Collection[UUID]) -> Sequence[EnrollmentRecord]:
    return [_enrollment(row) for row in await db.execute(_READ_ENROLLMENTS, {"ids": list(ids)})]


# Any: SQLAlchemy has no type for the rows of a whole table
def _enrollment(row: Row[Any]) -> EnrollmentRecord:
    return EnrollmentRecord(
        id=row.id,
        student_id=row.student_id,
        program_slug=row.program_slug,
        program_id=row.program_id,
        program_name=row.program_name,
        provider=row.provider,
        standing=Standing(row.standing),
        desired_state=DesiredState(row.desired_state) if row.desired_state else None,
        reason=row.reason,
        purchase_id=row.purchase_id,
        contact_name=row.contact_name,
        contact_email=row.contact_email,
    )


async def write_contacts(db: AsyncConnection, events: Sequence[Envelope[StudentUpdated]]) -> None:
    """A student's latest one stays, in whatever order they arrive."""
    rows: list[dict[str, Any]] = [
        {
            "student_id": event.data.student_id,
            "name": event.data.contact.name,
            "email": event.data.contact.email,
            "as_of": event.time,
        }
        for event in events
    ]
    if rows:  # in this order, so that two transactions do not wait for each other
        await db.execute(_WRITE_CONTACTS, sorted(rows, key=lambda row: row["student_id"]))


async def contacts_of(db: AsyncConnection, enrollments: Sequence[EnrollmentRecord]) -> Mapping[UUID, Contact]:
    """By enrollment: the student's, as they gave it when they paid, else as the school has it."""
    without = {each.student_id for each in enrollments if each.contact_email is None}
    rows = await db.execute(_READ_CONTACTS, {"students": sorted(without)}) if without else ()
    on_file = {row.student_id: Contact(name=row.name, email=row.email) for row in rows}
    found = {}
    for each in enrollments:
        if each.contact_email is not None:
            found[each.id] = Contact(name=each.contact_name, email=each.contact_email)
        elif each.student_id in on_file:
            found[each.id] = on_file[each.student_id]
    return found


async def stale_enrollments(db: AsyncConnection, slug: str) -> Sequence[tuple[UUID, UUID]]:
    """Id and student of each enrollment in the program whose provider enrollment is missing or out of date."""
    stale = or_(
        provider_enrollments.c.id.is_(None),
        provider_enrollments.c.desired_state != enrollments.c.desired_state,
        and_(
            enrollments.c.desired_state == DesiredState.ENROLLED.value,
            provider_enrollments.c.status == Status.WITHDRAWN.value,
        ),
    )
    selected = (
        select(enrollments.c.id, enrollments.c.student_id)
        .outerjoin(provider_enrollments, provider_enrollments.c.id == enrollments.c.id)
        .where(enrollments.c.program_slug == slug, enrollments.c.desired_state.is_not(None), stale)
        .order_by(enrollments.c.student_id)
    )
    return [(row.id, row.student_id) for row in await db.execute(selected)]


async def read_provider_enrollment(db: AsyncConnection, id: UUID) -> ProviderEnrollment | None:
    """Hold the enrollment's lock if you are going to change it."""
    return (await read_provider_enrollments(db, [id])).get(id)


async def read_provider_enrollments(db: AsyncConnection, ids: Collection[UUID]) -> Mapping[UUID, ProviderEnrollment]:
    """By enrollment. Hold the locks of those that you are going to change."""
    rows = await db.execute(_READ_PROVIDER_ENROLLMENTS, {"ids": list(ids)})
    return {row.id: _provider_enrollment(row) for row in rows}


# Any: SQLAlchemy has no type for the rows of a whole table
def _provider_enrollment(row: Row[Any]) -> ProviderEnrollment:
    return ProviderEnrollment(
        status=Status(row.status),
        desired_state=DesiredState(row.desired_state),
        reason=row.reason,
        purchase_id=row.purchase_id,
        step=Step(row.step) if row.step else None,
        failed_step=Step(row.failed_step) if row.failed_step else None,
        failure=row.failure,
        generation=row.generation,
        announced=row.announced,
        milady_enrollment_id=row.milady_enrollment_id,
        links=tuple(CourseLink.model_validate(link) for link in row.links),
        revision=row.revision,
    )


async def write_provider_enrollments(
    uow: UnitOfWork, rows: Sequence[tuple[EnrollmentRecord, ProviderEnrollment]]
) -> None:
    """In one round trip."""
    values = [
        {
            "id": enrollment.id,
            "student_id": enrollment.student_id,
            "program_slug": enrollment.program_slug,
            "status": current.status.value,
            "desired_state": current.desired_state.value,
            "reason": current.reason,
            "purchase_id": current.purchase_id,
            "step": current.step.value if current.step else None,
            "failed_step": current.failed_step.value if current.failed_step else None,
            "failure": current.failure,
            "generation": current.generation,
            "announced": current.announced,
            "milady_enrollment_id": current.milady_enrollment_id,
            "links": [link.model_dump() for link in current.links],
            "revision": current.revision,
            "created_at": uow.now,
            "updated_at": uow.now,
        }
        for enrollment, current in rows
    ]
    if values:
        await uow.db.execute(_WRITE_PROVIDER_ENROLLMENTS, values)
