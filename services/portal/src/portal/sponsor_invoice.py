"""A sponsor's invoice: the form of its request, and its stage. Pure."""

from __future__ import annotations

from portal.amounts import minor_units

FORM_FIELDS = {
    "student_name": "studentName",
    "student_email": "studentEmail",
    "authorization_number": "authorizationNumber",
    "period_start": "periodStart",
    "period_end": "periodEnd",
}
"""Of the form, and of POST /api/funding/create-checkout. What is left empty is not sent."""

_STAGES = {
    "processing": "processing",
    "paid": "paid",
    "withdrawn": "refunded",
    "failed": "ended",
    "expired": "ended",
    "canceled": "ended",
}


def stage_of(state: str) -> str:
    """Of a sponsor's invoice, in one word, by the state of its purchase."""
    return _STAGES.get(state, "open")


def amount_of(text: str, currency: str) -> dict[str, object] | None:
    """What was typed, as the API takes it; None if that is nothing. Raises ValueError."""
    return {"amount": minor_units(text, currency), "currency": currency} if text else None
