"""Programs, enrollments and places in the database.

Locks, always in this order: the facts of an event (by `Work.merge`), the program (shared by all who look whether it is
Milady's, alone by whoever looks for the enrollments of a program that has become so), the enrollment (whoever changes its place).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.milady_integration import CourseLink
from contracts.people import Contact, Program
from kit.db.unit_of_work import UnitOfWork
from kit.runtime.trace import Cause
from ledger.purchase import Standing
from milady_integration.domain import PROVIDER, Place, Status, Step, Wanted, Wish, enrollment_id
from milady_integration.tables import enrollments
from milady_integration.tables import milady_enrollments as places
from milady_integration.tables import milady_programs as programs

ADOPT = "milady.adopt"
"""An effect of our own: a program has become Milady's, so look for those who have an enrollment in it already."""


@dataclass(frozen=True, kw_only=True)
class EnrollmentRecord:
    """An enrollment as the facts had it when its last event came."""

    id: UUID
    student_id: UUID
    program: Program
    wanted: Wanted
    contact: Contact | None
    cause: Cause | None


@dataclass(frozen=True, kw_only=True)
class MiladyProgram:
    slug: str
    title: str
    course_ids: tuple[str, ...]
    is_active: bool


async def lock_program(db: AsyncConnection, slug: str, *, alone: bool = False) -> None:
    lock = func.pg_advisory_xact_lock if alone else func.pg_advisory_xact_lock_shared
    await db.execute(select(lock(func.hashtextextended(f"milady-program/{slug}", 0))))


async def lock_enrollment(db: AsyncConnection, id: UUID) -> None:
    await db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"milady-enrollment/{id}", 0))))


async def learn_program(uow: UnitOfWork, program: Program) -> None:
    """Somebody says that this program is Milady's. What an admin has made of it stays."""
    known = (await uow.db.execute(select(programs).where(programs.c.program_slug == program.slug))).one_or_none()
    if known is None:
        new = insert(programs).values(
            program_slug=program.slug,
            program_id=program.id,
            title=program.title,
            courses=[],
            is_active=True,
            revision=1,
        )
        if (await uow.db.execute(new.on_conflict_do_nothing())).rowcount:
            await uow.enqueue(ADOPT, key=f"{program.slug}/1", payload={"program_slug": program.slug})
    elif known.program_id is None:
        named = update(programs).where(programs.c.program_slug == program.slug, programs.c.program_id.is_(None))
        await uow.db.execute(named.values(program_id=program.id))


async def program_of(db: AsyncConnection, slug: str) -> MiladyProgram | None:
    row = (await db.execute(select(programs).where(programs.c.program_slug == slug))).one_or_none()
    if row is None:
        return None
    ids = tuple(course["id"] for course in row.courses)
    return MiladyProgram(slug=row.program_slug, title=row.title, course_ids=ids, is_active=row.is_active)


async def note_purchase(uow: UnitOfWork, student_id: UUID, program: Program, purchase_id: UUID) -> None:
    """A purchase was started: the enrollment is known, and nothing is paid for it yet."""
    values = _enrollment_values(student_id, program, purchase_id, Standing.NONE)
    new = insert(enrollments).values(**values, cause=_json(uow.cause), created_at=uow.now, updated_at=uow.now)
    await uow.db.execute(new.on_conflict_do_nothing())


async def note_enrollment(
    uow: UnitOfWork, student_id: UUID, program: Program, wanted: Wanted, contact: Contact | None
) -> EnrollmentRecord:
    """Writes down how the enrollment stands."""
    values = _enrollment_values(student_id, program, wanted.purchase_id, wanted.standing) | {
        "wish": wanted.wish.value if wanted.wish else None,
        "reason": wanted.reason,
        "contact_name": contact.name if contact else None,
        "contact_email": contact.email if contact else None,
        "cause": _json(uow.cause),
        "updated_at": uow.now,
    }
    statement = insert(enrollments).values(**values, created_at=uow.now)
    changing = {column: value for column, value in values.items() if column not in ("id", "student_id", "program_slug")}
    await uow.db.execute(statement.on_conflict_do_update(index_elements=["id"], set_=changing))
    return EnrollmentRecord(
        id=values["id"], student_id=student_id, program=program, wanted=wanted, contact=contact, cause=uow.cause
    )


async def read_enrollment(db: AsyncConnection, id: UUID) -> EnrollmentRecord | None:
    row = (await db.execute(select(enrollments).where(enrollments.c.id == id))).one_or_none()
    if row is None:
        return None
    return EnrollmentRecord(
        id=row.id,
        student_id=row.student_id,
        program=Program(slug=row.program_slug, id=row.program_id, name=row.program_name, provider=PROVIDER),
        wanted=Wanted(
            standing=Standing(row.standing),
            wish=Wish(row.wish) if row.wish else None,
            reason=row.reason,
            purchase_id=row.purchase_id,
        ),
        contact=Contact(email=row.contact_email, name=row.contact_name) if row.contact_email else None,
        cause=Cause(**row.cause) if row.cause else None,
    )


async def enrollments_behind(db: AsyncConnection, slug: str) -> Sequence[UUID]:
    """The enrollments of a program whose places do not follow them yet."""
    behind = or_(
        places.c.id.is_(None),
        places.c.wish != enrollments.c.wish,
        and_(enrollments.c.wish == Wish.ENROLLED.value, places.c.status == Status.WITHDRAWN.value),
    )
    wanted = (
        select(enrollments.c.id)
        .outerjoin(places, places.c.id == enrollments.c.id)
        .where(enrollments.c.program_slug == slug, enrollments.c.wish.is_not(None), behind)
        .order_by(enrollments.c.id)
    )
    return list(await db.scalars(wanted))


async def read_place(db: AsyncConnection, id: UUID) -> tuple[Place, int] | None:
    """The place and its revision. Under the enrollment's lock, when it is read in order to be changed."""
    row = (await db.execute(select(places).where(places.c.id == id))).one_or_none()
    if row is None:
        return None
    place = Place(
        status=Status(row.status),
        wish=Wish(row.wish),
        reason=row.reason,
        purchase_id=row.purchase_id,
        step=Step(row.step) if row.step else None,
        failed_step=Step(row.failed_step) if row.failed_step else None,
        failure=row.failure,
        generation=row.generation,
        announced=row.announced,
        milady_enrollment_id=row.milady_enrollment_id,
        links=tuple(CourseLink.model_validate(link) for link in row.links),
    )
    return place, row.revision


async def write_place(
    uow: UnitOfWork, enrollment: EnrollmentRecord, place: Place, revision: int, *, is_new: bool
) -> None:
    values: dict[str, Any] = {
        "status": place.status.value,
        "wish": place.wish.value,
        "reason": place.reason,
        "purchase_id": place.purchase_id,
        "step": place.step.value if place.step else None,
        "failed_step": place.failed_step.value if place.failed_step else None,
        "failure": place.failure,
        "generation": place.generation,
        "announced": place.announced,
        "milady_enrollment_id": place.milady_enrollment_id,
        "links": [link.model_dump() for link in place.links],
        "revision": revision,
        "updated_at": uow.now,
    }
    if is_new:
        fixed = {"id": enrollment.id, "student_id": enrollment.student_id, "program_slug": enrollment.program.slug}
        await uow.db.execute(insert(places).values(**fixed, **values, created_at=uow.now))
    else:
        await uow.db.execute(update(places).where(places.c.id == enrollment.id).values(**values))


def in_order(found: Iterable[tuple[UUID, str]]) -> list[tuple[UUID, str]]:
    """(student, program) of several enrollments in the one order in which they may be locked."""
    return sorted(found, key=lambda each: enrollment_id(*each))


def _enrollment_values(
    student_id: UUID, program: Program, purchase_id: UUID | None, standing: Standing
) -> dict[str, Any]:
    return {
        "id": enrollment_id(student_id, program.slug),
        "student_id": student_id,
        "program_slug": program.slug,
        "program_id": program.id,
        "program_name": program.name,
        "standing": standing.value,
        "purchase_id": purchase_id,
    }


def _json(cause: Cause | None) -> dict[str, Any] | None:
    return asdict(cause) if cause else None
