"""The problems of the portal's own pages, beside those of `kit.http.problems`."""

from __future__ import annotations

from kit.http.problems import ProblemType

FORM_EXPIRED = ProblemType(403, "form_expired", "This form is no longer valid.", "Open the page again and repeat it.")
UNKNOWN_ITEM = ProblemType(404, "unknown_item", "This is not sold here.", "The catalog lists what is.")
TOO_MANY_ROWS = ProblemType(422, "too_many_rows", "There are too many rows for one file.", "Choose a filter.")
