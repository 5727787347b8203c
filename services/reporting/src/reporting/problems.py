"""The problems that reporting answers, beside those of `kit.http.problems`. docs/errors.md lists them all."""

from __future__ import annotations

from kit.http.problems import ProblemType

NOT_VERIFIED = ProblemType(
    404, "not_verified", "The invariant was not verified yet.", "POST /api/admin/invariant/runs."
)
UNKNOWN_PURCHASE = ProblemType(404, "unknown_purchase", "No event names this purchase.", "Check the id.")
UNKNOWN_RUN = ProblemType(404, "unknown_run", "There is no such run.", "Older ones are not kept.")
