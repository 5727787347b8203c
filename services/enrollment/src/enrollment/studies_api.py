"""What enrollment answers: how far a student has come, and that a step is done."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from enrollment import studies
from enrollment.api import database_of, visible
from enrollment.domain import Status
from enrollment.progress import Decision, NotActive, ProjectLocked, ProjectStatus, UnknownStep
from enrollment.topology import SERVICE
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http.auth import CurrentCaller
from kit.http.errors import Problem

router = APIRouter(tags=["progress"])


class StepProgress(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    position: int
    title: str
    done: bool
    done_at: datetime | None


class ProjectProgress(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    position: int
    title: str
    status: ProjectStatus
    steps: list[StepProgress]


class TrackProgress(BaseModel):
    """`projects` is empty for what is no track, and for a track that has none (yet)."""

    enrollment_id: UUID
    track: str | None
    status: Status
    completed_at: datetime | None = Field(description="when the last step was done")
    projects: list[ProjectProgress]
    percent: int = Field(ge=0, le=100, description="of the steps, rounded down")


@router.get("/api/enrollments/{enrollment_id}/progress")
async def read_progress(request: Request, caller: CurrentCaller, enrollment_id: UUID) -> TrackProgress:
    """How far the student has come in a track: each project and its steps, in order."""
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        return await _progress(db, enrollment_id)


@router.post("/api/enrollments/{enrollment_id}/progress/steps/{step_id}/done")
async def mark_step_done(request: Request, caller: CurrentCaller, enrollment_id: UUID, step_id: UUID) -> TrackProgress:
    """The student (or an admin for them) says that a step is done; again changes nothing.

    The last step of a project completes it and opens the next one; the last step of all completes the enrollment.
    """
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        enrollment = await visible(db, enrollment_id)
        if not caller.is_admin and caller.id != enrollment.student_id:
            raise Problem(403, "forbidden", "Steps are marked by the student, or by an admin.")
        _refuse(await studies.mark_done(UnitOfWork(db=db, source=SERVICE, now=utc_now()), enrollment_id, step_id))
        return await _progress(db, enrollment_id)


def _refuse(decision: Decision) -> None:
    match decision:
        case UnknownStep():
            raise Problem(404, "unknown_step", "This enrollment has no such step; its progress lists all.")
        case NotActive(status=status):
            raise Problem(
                409, "enrollment_not_active", f"The enrollment is {status.value}; steps wait until it is open again."
            )
        case ProjectLocked(project=project):
            raise Problem(
                409, "project_locked", "Do the steps of the projects before this one first.", project_id=str(project.id)
            )


async def _progress(db: AsyncConnection, enrollment_id: UUID) -> TrackProgress:
    enrollment = await visible(db, enrollment_id)
    known = await studies.read(db, enrollment_id)
    return TrackProgress(
        enrollment_id=enrollment_id,
        track=enrollment.track,
        status=enrollment.status,
        completed_at=known.completed_at,
        projects=[ProjectProgress.model_validate(project) for project in known.projects],
        percent=known.percent,
    )
