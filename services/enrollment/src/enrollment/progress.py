"""A student's progress in a track. Pure: plain data and the time in, decisions out.

One rule: a project opens when all steps of those before it are done. So the marks alone say how each project stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from contracts import checkout
from enrollment.domain import Status


class ProjectStatus(StrEnum):
    LOCKED = "locked"
    UNLOCKED = "unlocked"
    COMPLETED = "completed"


@dataclass(frozen=True, kw_only=True)
class Step:
    """`position` counts from 1 within its project."""

    id: UUID
    position: int
    title: str
    done_at: datetime | None = None

    @property
    def done(self) -> bool:
        return self.done_at is not None


@dataclass(frozen=True, kw_only=True)
class Project:
    """`position` counts from 1 within the track."""

    id: UUID
    position: int
    title: str
    status: ProjectStatus
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A student's copy of the curriculum as of their start; empty if it has no steps."""

    projects: tuple[Project, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for project in self.projects for step in project.steps)

    @property
    def finished(self) -> bool:
        return bool(self.steps) and all(step.done for step in self.steps)

    @property
    def completed_at(self) -> datetime | None:
        """When the last step was done; None if any step is open."""
        return max(step.done_at for step in self.steps if step.done_at) if self.finished else None

    @property
    def percent(self) -> int:
        """Share of the steps that are done, in percent, rounded down."""
        steps = self.steps
        return 100 * sum(step.done for step in steps) // len(steps) if steps else 0


@dataclass(frozen=True, kw_only=True)
class UnknownStep:
    """The step is not part of this progress."""


@dataclass(frozen=True, kw_only=True)
class NotActive:
    """The enrollment is not active."""

    status: Status


@dataclass(frozen=True, kw_only=True)
class ProjectLocked:
    """The project before this one is not completed."""

    project: Project


@dataclass(frozen=True, kw_only=True)
class AlreadyDone:
    """The step is already done."""


@dataclass(frozen=True, kw_only=True)
class Marked:
    """The step is done. `projects` are those whose status has changed."""

    step: Step
    projects: tuple[Project, ...]
    after: Progress


Decision = UnknownStep | NotActive | ProjectLocked | AlreadyDone | Marked


def begin(*, enrollment_id: UUID, projects: Sequence[checkout.Project]) -> Progress:
    """A copy of the curriculum with its first project unlocked; empty if the curriculum has no steps."""
    if not any(project.steps for project in projects):
        return Progress()
    return Progress(
        projects=_standing(_copy(enrollment_id, position, project) for position, project in enumerate(projects, 1))
    )


def mark(*, progress: Progress, status: Status, step_id: UUID, at: datetime) -> Decision:
    """Decides what marking the step changes, in an enrollment with this status."""
    found = [(project, step) for project in progress.projects for step in project.steps if step.id == step_id]
    if not found:
        return UnknownStep()
    ((project, step),) = found
    if status not in (Status.ACTIVE, Status.COMPLETED):
        return NotActive(status=status)
    if step.done:
        return AlreadyDone()
    if project.status is ProjectStatus.LOCKED:
        return ProjectLocked(project=project)
    done = replace(step, done_at=at)
    steps = tuple(done if each is step else each for each in project.steps)
    after = _standing(replace(each, steps=steps) if each is project else each for each in progress.projects)
    changed = tuple(new for old, new in zip(progress.projects, after, strict=True) if new.status is not old.status)
    return Marked(step=done, projects=changed, after=Progress(projects=after))


def _standing(projects: Iterable[Project]) -> tuple[Project, ...]:
    """The status of each project. One without steps is completed as soon as it is unlocked."""
    found = []
    opens = True
    for project in projects:
        status = ProjectStatus.LOCKED
        if opens:
            opens = all(step.done for step in project.steps)
            status = ProjectStatus.COMPLETED if opens else ProjectStatus.UNLOCKED
        found.append(replace(project, status=status))
    return tuple(found)


def _copy(enrollment_id: UUID, position: int, project: checkout.Project) -> Project:
    project_id = uuid5(enrollment_id, f"project/{position}")
    return Project(
        id=project_id,
        position=position,
        title=project.title,
        status=ProjectStatus.LOCKED,
        steps=tuple(
            Step(id=uuid5(project_id, f"step/{n}"), position=n, title=title) for n, title in enumerate(project.steps, 1)
        ),
    )
