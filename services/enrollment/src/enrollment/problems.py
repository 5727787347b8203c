"""The problems that enrollment answers, beside those of `kit.http.problems`. docs/errors.md lists them all."""

from __future__ import annotations

from kit.http.problems import ProblemType

ENROLLMENT_NOT_ACTIVE = ProblemType(
    409,
    "enrollment_not_active",
    "The enrollment is not active.",
    "Steps can be marked as done once it is; pay what is owed.",
)
PROJECT_LOCKED = ProblemType(
    409, "project_locked", "An earlier project is not complete.", "Complete the projects before this one first."
)
UNKNOWN_ENROLLMENT = ProblemType(
    404, "unknown_enrollment", "Enrollment not found.", "GET /api/enrollments lists yours."
)
UNKNOWN_STEP = ProblemType(404, "unknown_step", "This enrollment has no such step.", "GET its progress for the list.")
