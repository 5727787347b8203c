"""The curriculum of each track, as the catalog last published it, and the enrollments waiting for one.

A payment and a new curriculum may arrive concurrently. A transaction that activates an enrollment holds the lock of the
curriculum shared, one that replaces the curriculum holds it exclusively: the later one sees what the other committed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
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


def lock_name(slug: str) -> str:
    """The name of the advisory lock; see the module."""
    return f"curricula/{slug}"


async def replace(uow: UnitOfWork, changed: CatalogItemChanged) -> bool:
    """Stores a later revision and locks the curriculum. Returns False if the stored one is not older."""
    slug = changed.item.slug
    await uow.db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(lock_name(slug), 0))))
    changing = {
        "revision": changed.revision,
        "projects": _PROJECTS.dump_python(changed.projects, mode="json"),
        "updated_at": uow.now,
    }
    row = insert(curricula).values(program_slug=slug, **changing)
    later = curricula.c.revision < row.excluded.revision
    replaced = await uow.db.execute(
        row.on_conflict_do_update(index_elements=["program_slug"], set_=changing, where=later)
    )
    return replaced.rowcount == 1


async def projects_of(db: AsyncConnection, slug: str) -> tuple[Project, ...]:
    """The track's projects in order; empty until the catalog publishes some."""
    found = await db.scalar(select(curricula.c.projects).where(curricula.c.program_slug == slug))
    return _PROJECTS.validate_python(found or ())


async def without_progress(
    db: AsyncConnection, slug: str, among: Collection[UUID] | None = None
) -> Sequence[tuple[UUID, UUID]]:
    """(enrollment id, student id) of every active enrollment in the track without progress."""
    has_progress = select(project_progress.c.id).where(project_progress.c.enrollment_id == enrollments.c.id).exists()
    statement = select(enrollments.c.id, enrollments.c.student_id).where(
        enrollments.c.program_slug == slug,
        enrollments.c.track == slug,
        enrollments.c.status == Status.ACTIVE.value,
        ~has_progress,
    )
    if among is not None:
        statement = statement.where(enrollments.c.id.in_(among))
    return [(row.id, row.student_id) for row in await db.execute(statement)]
