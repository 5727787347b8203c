"""GET and POST /api/enrollments/{id}/progress: a student's progress in a track."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.audit import Act
from enrollment import progress_repository
from enrollment.api import visible
from enrollment.domain import Status
from enrollment.problems import ENROLLMENT_NOT_ACTIVE, PROJECT_LOCKED, UNKNOWN_STEP
from enrollment.progress import Decision, NotActive, ProjectLocked, ProjectStatus, UnknownStep
from kit.http import audit
from kit.http.auth import CurrentCaller
from kit.http.dependencies import CallerUnitOfWork
from kit.http.problems import FORBIDDEN

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
    """`projects` is empty for anything but a track, and until the catalog has published the track's projects."""

    enrollment_id: UUID
    track: str | None
    status: Status
    completed_at: datetime | None = Field(description="when the last step was done")
    projects: list[ProjectProgress]
    percent: int = Field(ge=0, le=100, description="of the steps, rounded down")


@router.get("/api/enrollments/{enrollment_id}/progress")
async def read_progress(uow: CallerUnitOfWork, enrollment_id: UUID) -> TrackProgress:
    """The student's progress in a track: each project and its steps, in order."""
    return await _progress(uow.db, enrollment_id)


@router.post("/api/enrollments/{enrollment_id}/progress/steps/{step_id}/done")
async def mark_step_done(
    uow: CallerUnitOfWork, caller: CurrentCaller, enrollment_id: UUID, step_id: UUID
) -> TrackProgress:
    """Marks a step as done, by the student or by an admin for them. Repeating it changes nothing.

    The last step of a project completes it and unlocks the next one; the last step of all completes the enrollment.
    """
    enrollment = await visible(uow.db, enrollment_id)
    if not caller.is_admin and caller.id != enrollment.student_id:
        raise FORBIDDEN("Only the student or an admin can mark steps as done.")
    decision = await progress_repository.mark_done(uow, enrollment_id, step_id)
    _refuse(decision)
    if caller.id != enrollment.student_id:
        recorded = Act.of(
            "progress.recorded",
            "step",
            step_id,
            purchase_id=enrollment.purchase_id,
            student_id=enrollment.student_id,
            after={"enrollment_id": enrollment_id, "done": True},
        )
        await audit.record(uow, recorded)
    return await _progress(uow.db, enrollment_id)


def _refuse(decision: Decision) -> None:
    match decision:
        case UnknownStep():
            raise UNKNOWN_STEP()
        case NotActive(status=status):
            raise ENROLLMENT_NOT_ACTIVE(f"The enrollment is {status.value}; steps need an active enrollment.")
        case ProjectLocked(project=project):
            raise PROJECT_LOCKED(project_id=str(project.id))


async def _progress(db: AsyncConnection, enrollment_id: UUID) -> TrackProgress:
    enrollment = await visible(db, enrollment_id)
    progress = await progress_repository.read(db, enrollment_id)
    return TrackProgress(
        enrollment_id=enrollment_id,
        track=enrollment.track,
        status=enrollment.status,
        completed_at=progress.completed_at,
        projects=[ProjectProgress.model_validate(project) for project in progress.projects],
        percent=progress.percent,
    )
