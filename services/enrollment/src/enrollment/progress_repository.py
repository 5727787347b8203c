"""Reads and writes students' progress."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts import checkout
from contracts.enrollment import EnrollmentProgressed
from enrollment import progress, repository
from enrollment.progress import Decision, Marked, Progress, Project, ProjectStatus, Step, UnknownStep
from enrollment.tables import project_progress, step_progress
from kit.db.unit_of_work import UnitOfWork


async def read(connection: AsyncConnection, enrollment_id: UUID) -> Progress:
    """The progress of an enrollment; empty if there is none."""
    p, s = project_progress.c, step_progress.c
    joined = project_progress.outerjoin(step_progress, s.project_id == p.id)
    of_step = (s.id.label("step_id"), s.position.label("step_position"), s.title.label("step_title"), s.done_at)
    rows = await connection.execute(
        select(project_progress, *of_step)
        .select_from(joined)
        .where(p.enrollment_id == enrollment_id)
        .order_by(p.position, s.position)
    )
    return Progress(projects=tuple(_project(list(group)) for _, group in groupby(rows, key=lambda row: row.id)))


def _project(rows: Sequence[Row[Any]]) -> Project:
    """Builds a project from one row per step, or from a single row if it has none."""
    first = rows[0]
    return Project(
        id=first.id,
        position=first.position,
        title=first.title,
        status=ProjectStatus(first.status),
        steps=tuple(
            Step(id=row.step_id, position=row.step_position, title=row.step_title, done_at=row.done_at)
            for row in rows
            if row.step_id is not None
        ),
    )


async def start(
    connection: AsyncConnection, enrollments: Iterable[tuple[UUID, UUID]], *, projects: tuple[checkout.Project, ...]
) -> None:
    """Copies the curriculum for each of these (enrollment id, student id), which have no progress yet."""
    new_projects, new_steps = [], []
    for enrollment_id, student_id in enrollments:
        for project in progress.begin(enrollment_id=enrollment_id, projects=projects).projects:
            new_projects.append(
                {
                    "id": project.id,
                    "enrollment_id": enrollment_id,
                    "student_id": student_id,
                    "position": project.position,
                    "title": project.title,
                    "status": project.status.value,
                }
            )
            new_steps += [
                {
                    "id": step.id,
                    "project_id": project.id,
                    "student_id": student_id,
                    "position": step.position,
                    "title": step.title,
                }
                for step in project.steps
            ]
    if new_projects:
        await connection.execute(insert(project_progress), new_projects)
    if new_steps:
        await connection.execute(insert(step_progress), new_steps)


async def mark_done(uow: UnitOfWork, enrollment_id: UUID, step_id: UUID) -> Decision:
    """Marks the step as done and publishes the progress; the last step completes the enrollment. All in one commit."""
    enrollment = await repository.lock(uow.db, enrollment_id)
    if enrollment is None:
        return UnknownStep()
    current = await read(uow.db, enrollment_id)
    decision = progress.mark(progress=current, status=enrollment.status, step_id=step_id, at=uow.now)
    if not isinstance(decision, Marked):
        return decision
    await uow.db.execute(
        update(step_progress).where(step_progress.c.id == decision.step.id).values(done_at=decision.step.done_at)
    )
    for project in decision.projects:
        await uow.db.execute(
            update(project_progress).where(project_progress.c.id == project.id).values(status=project.status.value)
        )
    event = EnrollmentProgressed(
        enrollment_id=enrollment.id,
        student_id=enrollment.student_id,
        program_slug=enrollment.program_slug,
        percent=decision.after.percent,
    )
    await uow.publish(event, id=f"{step_id}/{event.type}", subject=str(enrollment.purchase_id or enrollment.id))
    if decision.after.finished:
        await repository.complete(uow, enrollment)
    return decision
