"""What there is to do in each track, as the catalog last told; and who waits for it.

A payment and the news of the catalog may come at once. Whoever opens an enrollment holds the curriculum's lock together with
others like it, whoever replaces the curriculum holds it alone: so one of the two sees what the other has done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.checkout import CatalogItemChanged, Project
from enrollment.domain import Status
from enrollment.tables import curricula, enrollments, project_progress
from kit.db.unit_of_work import UnitOfWork

_PROJECTS = TypeAdapter(tuple[Project, ...])


async def hold(db: AsyncConnection, slugs: Iterable[str]) -> None:
    """They stay as they are until the transaction ends. Held before any enrollment is locked, so that nobody waits in a
    circle."""
    for slug in sorted(set(slugs)):
        await db.execute(select(func.pg_advisory_xact_lock_shared(_lock(slug))))


async def replace(uow: UnitOfWork, told: CatalogItemChanged) -> bool:
    """Whether this is the later word. Nobody begins with the track until the transaction ends."""
    await uow.db.execute(select(func.pg_advisory_xact_lock(_lock(told.item.slug))))
    changing = {
        "revision": told.revision,
        "projects": _PROJECTS.dump_python(told.projects, mode="json"),
        "updated_at": uow.now,
    }
    row = insert(curricula).values(program_slug=told.item.slug, **changing)
    later = curricula.c.revision < row.excluded.revision
    replaced = await uow.db.execute(
        row.on_conflict_do_update(index_elements=["program_slug"], set_=changing, where=later)
    )
    return replaced.rowcount == 1


async def projects_of(db: AsyncConnection, slug: str) -> tuple[Project, ...]:
    """In their order; none while the catalog has not told of any."""
    found = await db.scalar(select(curricula.c.projects).where(curricula.c.program_slug == slug))
    return _PROJECTS.validate_python(found or ())


async def waiting_for(db: AsyncConnection, slug: str) -> Sequence[tuple[UUID, UUID]]:
    """Enrollment and student of every open enrollment in the track that has no progress yet."""
    begun = select(project_progress.c.id).where(project_progress.c.enrollment_id == enrollments.c.id).exists()
    wanted = select(enrollments.c.id, enrollments.c.student_id).where(
        enrollments.c.program_slug == slug,
        enrollments.c.track == slug,
        enrollments.c.status == Status.ACTIVE.value,
        ~begun,
    )
    return [(row.id, row.student_id) for row in await db.execute(wanted)]


def _lock(slug: str) -> object:
    return func.hashtextextended(f"curricula/{slug}", 0)
