"""The problems that milady-integration answers, beside those of `kit.http.problems`. docs/errors.md lists them all."""

from __future__ import annotations

from kit.http.problems import ProblemType

ALREADY_ENROLLED = ProblemType(409, "already_enrolled", "The student is enrolled under another id.", "Check the id.")
NOTHING_TO_RETRY = ProblemType(
    409, "nothing_to_retry", "Nothing has failed for this enrollment.", "There is nothing to do."
)
NOT_PAID = ProblemType(
    409, "not_paid", "The enrollment is not paid for.", "The student is enrolled automatically as soon as it is."
)
NOT_WITHDRAWN = ProblemType(
    409, "not_withdrawn", "The enrollment is paid for, so it must not be withdrawn.", "A refund withdraws it."
)
PROGRAM_INACTIVE = ProblemType(
    409,
    "program_inactive",
    "Enrollment at Milady is turned off for this program.",
    "Turn it on: PUT /api/admin/milady/programs/{program_slug}.",
)
STEP_IN_PROGRESS = ProblemType(
    409,
    "step_in_progress",
    "A request to Milady is in progress for this enrollment.",
    "Try again when it has completed.",
)
UNKNOWN_ENROLLMENT = ProblemType(
    404, "unknown_enrollment", "This student has no enrollment at Milady in this program.", "Check both ids."
)
UNKNOWN_PROGRAM = ProblemType(
    404, "unknown_program", "Not one of Milady's programs.", "GET /api/admin/milady/programs lists them."
)
