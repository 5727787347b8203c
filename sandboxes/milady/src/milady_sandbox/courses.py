"""The courses that the provider offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

COURSES: Mapping[str, str] = {
    "milady-barber-foundations": "Standard Barbering: Foundations",
    "milady-barber-practice": "Standard Barbering: Practical Skills",
    "milady-barber-board-prep": "Standard Barbering: State Board Preparation",
    "milady-cosmetology": "Standard Cosmetology",
    "milady-esthetics": "Standard Esthetics",
    "milady-nail-technology": "Standard Nail Technology",
}
"""id -> title"""

ORIENTATION = ("milady-orientation", "Orientation")
"""The course of an enrollment without course ids."""


def titles(course_ids: Sequence[str]) -> list[tuple[str, str]] | None:
    """(id, title) of each course; None if any is unknown."""
    if not course_ids:
        return [ORIENTATION]
    if any(course not in COURSES for course in course_ids):
        return None
    return [(course, COURSES[course]) for course in course_ids]
