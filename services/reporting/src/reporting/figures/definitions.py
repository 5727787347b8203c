"""What each figure means, and its target. The API returns the definition beside the value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from kit.http.figures import Definition

FigureName = Literal[
    "payment_success_rate",
    "paid_rate",
    "enrolled_rate",
    "instructor_assignment_rate",
    "refund_rate",
    "dispute_rate",
    "processing_average",
    "processing_p50",
    "processing_p95",
    "processing_p99",
    "paid_to_enrolled_average",
    "paid_to_enrolled_p50",
    "paid_to_enrolled_p95",
    "paid_to_enrolled_p99",
    "pending_payments",
    "failures_last_day",
]
PROCESSING: tuple[FigureName, ...] = ("processing_average", "processing_p50", "processing_p95", "processing_p99")
PAID_TO_ENROLLED: tuple[FigureName, ...] = (
    "paid_to_enrolled_average",
    "paid_to_enrolled_p50",
    "paid_to_enrolled_p95",
    "paid_to_enrolled_p99",
)
"""The average, the median, and the 95th and 99th percentiles."""
_PROCESSING = (
    "from when a payment event was received here to when the enrollment's event was that it has caused; both come by"
    " the same queue"
)
_ENROLLED = "from Stripe's time of a purchase's first successful payment to the time at which its enrollment was active"

DEFINITIONS: Mapping[FigureName, Definition] = {
    "payment_success_rate": Definition(
        unit="basis_points",
        text="payments that succeeded / payments that succeeded or whose last attempt failed; one that was declined and"
        " then paid has succeeded, one that is pending or that nobody tried to pay is not counted",
        target="target_payment_success",
    ),
    "paid_rate": Definition(
        unit="basis_points", text="purchases with a successful payment, by now / purchases created in the period"
    ),
    "enrolled_rate": Definition(
        unit="basis_points",
        text="purchases with an enrollment that was active / purchases with a successful payment, of those created in"
        " the period; merchandise gives none",
    ),
    "instructor_assignment_rate": Definition(
        unit="basis_points",
        text="enrollments in what is taught, that became active in the period, to which an instructor was"
        " assigned by now / all of these",
    ),
    "refund_rate": Definition(
        unit="basis_points",
        text="payments of which something was paid back, by now / payments that succeeded in the period",
        better="lower",
        target="target_refunds",
    ),
    "dispute_rate": Definition(
        unit="basis_points",
        text="payments that were disputed, with whatever outcome, without inquiries / payments that succeeded in the"
        " period; a late return of a bank debit is a dispute",
        better="lower",
    ),
    "processing_average": Definition(
        unit="milliseconds", text=f"average, {_PROCESSING}", better="lower", target="target_processing_milliseconds"
    ),
    "processing_p50": Definition(unit="milliseconds", text=f"median, {_PROCESSING}", better="lower"),
    "processing_p95": Definition(unit="milliseconds", text=f"95th percentile, {_PROCESSING}", better="lower"),
    "processing_p99": Definition(unit="milliseconds", text=f"99th percentile, {_PROCESSING}", better="lower"),
    "paid_to_enrolled_average": Definition(
        unit="milliseconds", text=f"average, {_ENROLLED}", better="lower", target="target_enrolled_milliseconds"
    ),
    "paid_to_enrolled_p50": Definition(unit="milliseconds", text=f"median, {_ENROLLED}", better="lower"),
    "paid_to_enrolled_p95": Definition(unit="milliseconds", text=f"95th percentile, {_ENROLLED}", better="lower"),
    "paid_to_enrolled_p99": Definition(unit="milliseconds", text=f"99th percentile, {_ENROLLED}", better="lower"),
    "pending_payments": Definition(
        unit="count", text="bank debits that were submitted and have neither settled nor failed, now", better="lower"
    ),
    "failures_last_day": Definition(
        unit="count",
        text="mails, enrollments at the provider and refunds that failed for good in the last 24 hours",
        better="lower",
    ),
}
