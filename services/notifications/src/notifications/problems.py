"""The problems that notifications answers, beside those of `kit.http.problems`. docs/errors.md lists them all."""

from __future__ import annotations

from kit.http.problems import ProblemType

NOT_RESENDABLE = ProblemType(
    409, "not_resendable", "Only failed and unknown notifications can be resent.", "There is nothing to do."
)
NO_CONTACT = ProblemType(
    409,
    "no_contact",
    "The notification waits for an address.",
    "Add the student's: PUT /api/admin/students/{id}/contact. It is sent then.",
)
UNKNOWN_NOTIFICATION = ProblemType(
    404, "unknown_notification", "Notification not found.", "GET /api/notifications lists them."
)
