"""The problems that instructor-assignment answers, beside those of `kit.http.problems`. docs/errors.md lists all."""

from __future__ import annotations

from kit.http.problems import ProblemType

INSTRUCTOR_HAS_STUDENTS = ProblemType(
    409,
    "instructor_has_students",
    "The program's other instructors do not have the capacity for all of these students.",
    "Add an instructor or raise a capacity first. Or set is_active to false: students without an instructor "
    "then wait for one.",
)
UNKNOWN_INSTRUCTOR = ProblemType(
    404, "unknown_instructor", "Instructor not found.", "GET /api/admin/instructors lists them."
)
