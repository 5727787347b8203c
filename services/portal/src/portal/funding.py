"""What sponsors pay, by funding source. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, kw_only=True)
class FundingTotal:
    """Amounts in minor units. `owed`: of invoices that are open."""

    source: str
    currency: str
    students: int
    amount: int
    paid: int
    owed: int


def totals_of(purchases: Iterable[Mapping[str, Any]]) -> list[FundingTotal]:
    """Of the sponsored purchases that were not canceled and have not expired. Never across currencies."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for each in purchases:
        if each["funding_source"] and each["status"] not in ("canceled", "expired"):
            groups.setdefault((each["funding_source"], each["currency"]), []).append(each)
    return [
        FundingTotal(
            source=source,
            currency=currency,
            students=len({each["student_id"] for each in group}),
            amount=sum(each["amount"] for each in group),
            paid=sum(each["paid"] for each in group),
            owed=sum(each["due"] for each in group),
        )
        for (source, currency), group in sorted(groups.items())
    ]


def stage_of(state: str) -> str:
    """Of a sponsor's invoice, in one word, by the state of its purchase."""
    return _STAGES.get(state, "open")


def cap_of(text: str, currency: str) -> dict[str, object] | None:
    """What the sponsor has authorized, as the API takes it; None if nothing was typed. Raises ValueError."""
    return {"amount": minor_units(text, currency), "currency": currency} if text else None
