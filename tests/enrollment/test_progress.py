"""Invariants of the progress in a track, in whatever order the steps are marked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import checkout
from enrollment.domain import Status
from enrollment.progress import (
    AlreadyDone,
    Marked,
    NotActive,
    Progress,
    ProjectLocked,
    ProjectStatus,
    UnknownStep,
    begin,
    mark,
)

ENROLLMENT = UUID(int=7)
AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TRACK = (
    checkout.Project(title="A page", steps=("Write it", "Publish it")),
    checkout.Project(title="A shop", steps=("Sell it",)),
)


def marked(progress: Progress, project: int, step: int, *, at: datetime = AT) -> Progress:
    decision = mark(progress=progress, status=Status.ACTIVE, step_id=progress.projects[project].steps[step].id, at=at)
    assert isinstance(decision, Marked)
    return decision.after


def statuses(progress: Progress) -> list[str]:
    return [project.status.value for project in progress.projects]


def test_progress_starts_with_the_first_project_unlocked() -> None:
    progress = begin(enrollment_id=ENROLLMENT, projects=TRACK)
    assert statuses(progress) == ["unlocked", "locked"]
    assert [(p.position, p.title, [(s.position, s.title, s.done) for s in p.steps]) for p in progress.projects] == [
        (1, "A page", [(1, "Write it", False), (2, "Publish it", False)]),
        (2, "A shop", [(1, "Sell it", False)]),
    ]
    assert (progress.percent, progress.finished, progress.completed_at) == (0, False, None)


def test_every_enrollment_has_its_own_steps() -> None:
    mine, yours = (begin(enrollment_id=UUID(int=n), projects=TRACK) for n in (1, 2))
    assert not {step.id for step in mine.steps} & {step.id for step in yours.steps}
    assert len({step.id for step in mine.steps}) == 3


@pytest.mark.parametrize("projects", [(), (checkout.Project(title="Nothing to do", steps=()),)])
def test_a_curriculum_without_steps_has_no_progress(projects: tuple[checkout.Project, ...]) -> None:
    progress = begin(enrollment_id=ENROLLMENT, projects=projects)
    assert (progress, progress.finished, progress.percent) == (Progress(), False, 0)


def test_the_last_step_of_a_project_completes_it_and_unlocks_the_next() -> None:
    progress = marked(begin(enrollment_id=ENROLLMENT, projects=TRACK), 0, 1)
    assert (statuses(progress), progress.percent) == (["unlocked", "locked"], 33)
    progress = marked(progress, 0, 0)
    assert (statuses(progress), progress.percent, progress.finished) == (["completed", "unlocked"], 66, False)
    progress = marked(progress, 1, 0, at=AT + timedelta(days=1))
    assert (statuses(progress), progress.percent, progress.finished) == (["completed", "completed"], 100, True)
    assert progress.completed_at == AT + timedelta(days=1)


def test_steps_of_a_locked_project_are_rejected() -> None:
    progress = begin(enrollment_id=ENROLLMENT, projects=TRACK)
    shop = progress.projects[1]
    refused = mark(progress=progress, status=Status.ACTIVE, step_id=shop.steps[0].id, at=AT)
    assert refused == ProjectLocked(project=shop)


@pytest.mark.parametrize("status", [Status.PENDING, Status.PAUSED, Status.WITHDRAWN])
def test_steps_of_an_inactive_enrollment_are_rejected(status: Status) -> None:
    progress = marked(begin(enrollment_id=ENROLLMENT, projects=TRACK), 0, 0)
    for step in progress.steps:
        assert mark(progress=progress, status=status, step_id=step.id, at=AT) == NotActive(status=status)


def test_marking_a_step_twice_changes_nothing() -> None:
    progress = marked(begin(enrollment_id=ENROLLMENT, projects=TRACK), 0, 0)
    again = mark(progress=progress, status=Status.ACTIVE, step_id=progress.steps[0].id, at=AT + timedelta(days=1))
    assert again == AlreadyDone()


def test_another_enrollments_step_is_not_found() -> None:
    progress = begin(enrollment_id=ENROLLMENT, projects=TRACK)
    assert mark(progress=progress, status=Status.ACTIVE, step_id=uuid4(), at=AT) == UnknownStep()


curricula = st.lists(
    st.builds(checkout.Project, title=st.just("Project"), steps=st.lists(st.just("Step"), max_size=3).map(tuple)),
    max_size=5,
)


@given(projects=curricula, data=st.data())
def test_any_order_of_marks_keeps_the_invariants(projects: list[checkout.Project], data: st.DataObject) -> None:
    """Projects are unlocked one after the other, nothing done is undone, and the track completes with the last step."""
    progress = begin(enrollment_id=ENROLLMENT, projects=projects)
    steps = [step.id for step in progress.steps]
    completions = 0
    for step_id in data.draw(st.lists(st.sampled_from(steps), max_size=40)) if steps else []:
        before = progress
        decision = mark(progress=before, status=Status.ACTIVE, step_id=step_id, at=AT)
        if isinstance(decision, Marked):
            progress = decision.after
            assert decision.step.id == step_id and decision.step.done
            completions += progress.finished
            changed = {new.id for old, new in zip(before.projects, progress.projects, strict=True) if new != old}
            assert {project.id for project in decision.projects} <= changed
        _holds(progress)
        done_before = {step.id for step in before.steps if step.done}
        assert {step.id for step in progress.steps if step.done} - done_before <= {step_id}
        assert done_before <= {step.id for step in progress.steps if step.done}
        assert progress.percent >= before.percent
    assert completions == progress.finished, "it is completed by one mark, and once"


@given(projects=curricula, data=st.data())
def test_as_many_marks_as_steps_complete_the_track(projects: list[checkout.Project], data: st.DataObject) -> None:
    """In any order that the locked projects allow."""
    progress = begin(enrollment_id=ENROLLMENT, projects=projects)
    for _ in range(len(progress.steps)):
        open_steps = [
            step.id
            for project in progress.projects
            if project.status is ProjectStatus.UNLOCKED
            for step in project.steps
            if not step.done
        ]
        decision = mark(progress=progress, status=Status.ACTIVE, step_id=data.draw(st.sampled_from(open_steps)), at=AT)
        assert isinstance(decision, Marked)
        progress = decision.after
    assert progress.finished == bool(progress.steps)
    assert progress.percent == (100 if progress.steps else 0)


def _holds(progress: Progress) -> None:
    found = statuses(progress)
    assert found == sorted(found, key=["completed", "unlocked", "locked"].index), "completed, then open, then locked"
    assert found.count("unlocked") == (0 if progress.finished or not found else 1)
    for project in progress.projects:
        all_done = all(step.done for step in project.steps)
        assert (project.status is ProjectStatus.COMPLETED) == (all_done and project.status is not ProjectStatus.LOCKED)
        if project.status is ProjectStatus.LOCKED:
            assert not any(step.done for step in project.steps)
    assert (progress.percent == 100) == progress.finished == (progress.completed_at is not None)
