"""What a sponsor's invoice states, and when its payer is reminded. Pure.

A sponsor gets one invoice of Stripe's, over all but the student's co-pay, as soon as the purchase exists: it is
numbered, has a PDF from its first minute, can be paid by debit, card or transfer, and Stripe knows that it is open. A
second, numbered invoice of our own would claim the same money twice, so our document follows the payment (`receipts`).

The text is stored with the purchase, so that every attempt to create the invoice sends Stripe the same parameters: a
repeated idempotency key with other parameters is an error (docs.stripe.com/api/idempotent_requests).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from checkout.purchases.domain import Period, PurchaseRequest
from checkout.stripe_client import InvoiceTerms

_VALUE_LENGTH = 140
"""Of a custom field (stripe.params.InvoiceCreateParamsCustomField)."""


@dataclass(frozen=True, kw_only=True)
class SponsorInvoice:
    """As it is stored in `purchases.session_params`. `bill_to` is the finance office's address: Stripe refuses to send
    an invoice to a customer without one."""

    sponsor: str
    bill_to: str
    terms: InvoiceTerms

    def to_json(self) -> dict[str, Any]:
        return {
            "sponsor": self.sponsor,
            "bill_to": self.bill_to,
            "days_until_due": self.terms.days_until_due,
            "description": self.terms.description,
            "custom_fields": dict(self.terms.custom_fields or {}),
            "footer": self.terms.footer,
            "payment_methods": list(self.terms.payment_methods),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> SponsorInvoice:
        """Raises KeyError for a purchase that is not a sponsor's."""
        return cls(
            sponsor=stored["sponsor"],
            bill_to=stored["bill_to"],
            terms=InvoiceTerms(
                days_until_due=stored["days_until_due"],
                description=stored["description"],
                custom_fields=stored["custom_fields"],
                footer=stored["footer"],
                payment_methods=tuple(stored["payment_methods"]),
            ),
        )


def sponsor_invoice(
    request: PurchaseRequest,
    *,
    sponsor: str,
    bill_to: str,
    student_name: str | None,
    days: int,
    payment_methods: Sequence[str],
) -> SponsorInvoice:
    """`sponsor`: its name; `student_name` None: unknown, and the invoice states the student's id; `days` to pay."""
    student = student_name or str(request.student_id)
    fields = {
        "Student": student,
        "Funding source": request.funding_source,
        "Authorization number": request.authorization_number,
        "Training period": _period(request.period),
    }
    quoted = f" Please quote authorization {request.authorization_number}." if request.authorization_number else ""
    paid = "this invoice is paid" if request.co_pay is None else "this invoice and the student's co-pay are paid"
    terms = InvoiceTerms(
        days_until_due=days,
        description=f"{request.program.title} for {student}"[:500],
        custom_fields={name: value[:_VALUE_LENGTH] for name, value in fields.items() if value},
        footer=f"Due within {days} days. The student is enrolled when {paid}.{quoted}",
        payment_methods=payment_methods,
    )
    return SponsorInvoice(sponsor=sponsor, bill_to=bill_to, terms=terms)


def due_at(start: datetime, days: int) -> datetime:
    return start + timedelta(days=days)


def reminder_at(due: datetime, sent: int, days: tuple[int, ...]) -> datetime | None:
    """When the next reminder of an unpaid invoice is sent, after so many; None: the last one was sent."""
    return due + timedelta(days=days[sent]) if sent < len(days) else None


def _period(period: Period | None) -> str | None:
    return f"{period.start.isoformat()} to {period.end.isoformat()}" if period else None
