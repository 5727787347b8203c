"""An enrollment as the student's page displays it: progress, and what to do next. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_BY_STATUS = {
    "pending": "Your enrollment opens as soon as your payment is confirmed.",
    "paused": "A payment is overdue: pay it below, and your enrollment resumes.",
    "withdrawn": "This enrollment has ended.",
    "completed": "You have completed this.",
}


@dataclass(frozen=True, kw_only=True)
class Step:
    id: str
    title: str
    project: str


@dataclass(frozen=True, kw_only=True)
class EnrollmentCard:
    """`step`: the first that is not done, of the track of an active enrollment."""

    enrollment: Mapping[str, Any]
    progress: Mapping[str, Any] | None
    instructor: Mapping[str, Any] | None
    provider: Mapping[str, Any] | None

    @property
    def step(self) -> Step | None:
        if self.enrollment["status"] != "active" or self.progress is None:
            return None
        steps = ((project, step) for project in self.progress["projects"] for step in project["steps"])
        return next(
            (Step(id=step["id"], title=step["title"], project=p["title"]) for p, step in steps if not step["done"]),
            None,
        )

    @property
    def next_step(self) -> str:
        """In words; empty where `step` says it, and for a membership, which has a page of its own."""
        if self.step is not None:
            return ""
        if self.enrollment["kind"] == "membership":
            return ""
        if text := _BY_STATUS.get(self.enrollment["status"]):
            return text
        if self.provider is not None and self.provider["links"]:
            return "Open your courses, which are linked here."
        if self.instructor is not None and self.instructor["instructor"]:
            return "Your instructor has sent you a message with the first steps."
        return "We send you an email as soon as everything is prepared."


def cards_of(
    enrollments: list[dict[str, Any]],
    progress: list[dict[str, Any] | None],
    instructors: Mapping[str, Mapping[str, Any]],
    courses: Mapping[str, Mapping[str, Any]],
) -> list[EnrollmentCard]:
    """`instructors` and `courses`: by the slug of the program."""
    return [
        EnrollmentCard(
            enrollment=each,
            progress=made,
            instructor=instructors.get(each["program_slug"]),
            provider=courses.get(each["program_slug"]),
        )
        for each, made in zip(enrollments, progress, strict=True)
    ]
