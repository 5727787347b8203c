"""What the payment facts say of each payment, as one row. Pure: facts in, rows out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import NAMESPACE_URL, UUID, uuid5

from contracts.payments import PaymentFailed
from ledger.facts import Facts, fold
from ledger.payment import EARLIEST, LATEST, Payment
from ledger.purchase import Purchase

_PAYMENTS = uuid5(NAMESPACE_URL, "urn:bursar:reporting:payment")
_PREFERRED = ("pi_", "in_", "cs_")
"""By which of its ids at Stripe a payment is named, if it has several."""


class Status(StrEnum):
    """succeeded: money was received, or nothing was due. pending: a bank debit was submitted. failed: the last attempt
    failed. expired: nobody paid. open: none of these yet. merged: it is another row's payment."""

    SUCCEEDED = "succeeded"
    PENDING = "pending"
    FAILED = "failed"
    EXPIRED = "expired"
    OPEN = "open"
    MERGED = "merged"


@dataclass(frozen=True, kw_only=True)
class PaymentRow:
    """A row of `payments`. Amounts: minor units, 0 while nothing was received.

    refunded:     without refunds that failed, never more than was received
    lost:         to disputes
    disputed:     a dispute was opened, with whatever outcome; an inquiry is none
    failures:     failed attempts; of those that are alike, the last 20 are counted (ledger.facts.superseded)
    failure_code: of the last failed attempt
    occurred_at:  when it was received; of one that was not, the time of the last event about it. None: no event says
    """

    id: UUID
    purchase_id: UUID | None = None
    program_slug: str | None = None
    kind: str | None = None
    payer: str | None = None
    funding_source: str | None = None
    method: str | None = None
    currency: str | None = None
    status: Status = Status.MERGED
    received: int = 0
    refunded: int = 0
    lost: int = 0
    disputed: bool = False
    failures: int = 0
    failure_code: str | None = None
    occurred_at: datetime | None = None


def payment_id(reference: str) -> UUID:
    """The id of the payment that has this reference at Stripe, or this id of ours."""
    return uuid5(_PAYMENTS, reference)


def wanted(facts: Facts) -> Mapping[UUID, PaymentRow]:
    """A row for every payment, and one that counts nothing for every other reference of it: before an event linked two
    references, each was a payment of its own."""
    found = dict[UUID, PaymentRow]()
    for purchase in fold(facts):
        for payment in purchase.payments:
            first, *others = sorted(payment.refs, key=_preference)
            found[payment_id(first)] = _row(purchase, payment, payment_id(first))
            found.update((payment_id(each), PaymentRow(id=payment_id(each))) for each in others)
    return found


def becomes(before: PaymentRow | None, wanted: PaymentRow) -> PaymentRow | None:
    """None: no row. What was never counted needs no row that counts nothing."""
    return None if before is None and wanted.status is Status.MERGED else wanted


def _preference(reference: str) -> tuple[int, str]:
    ranks = (rank for rank, prefix in enumerate(_PREFERRED) if reference.startswith(prefix))
    return next(ranks, len(_PREFERRED)), reference


def _row(purchase: Purchase, payment: Payment, id: UUID) -> PaymentRow:
    settled, program = payment.settled, purchase.program
    failed = [fact for fact in payment.facts if isinstance(fact, PaymentFailed)]
    last = max(failed, key=lambda fact: (fact.as_of or EARLIEST, fact.code), default=None)
    payer = payment.payer_of(purchase.payer)
    return PaymentRow(
        id=id,
        purchase_id=purchase.id,
        program_slug=program.slug if program else None,
        kind=(program.kind or "program") if program else None,
        payer=payer,
        funding_source=purchase.funding_source if payer == purchase.payer else None,
        method=payment.method,
        currency=settled.currency if settled else None,
        status=_status(payment, failed=bool(failed)),
        received=settled.amount if settled else 0,
        refunded=min(payment.refunded, settled.amount) if settled else 0,
        lost=payment.lost_amount,
        disputed=any(not status.startswith("warning_") for status in payment.disputes.values()),
        failures=len(failed),
        failure_code=last.code if last else None,
        occurred_at=_occurred_at(payment),
    )


def _status(payment: Payment, *, failed: bool) -> Status:
    if payment.settled is not None:
        return Status.SUCCEEDED
    if payment.processing:
        return Status.PENDING
    if failed:
        return Status.FAILED
    return Status.EXPIRED if payment.expired else Status.OPEN


def _occurred_at(payment: Payment) -> datetime | None:
    if payment.settled is not None:
        return payment.received_at if payment.received_at not in (EARLIEST, LATEST) else None
    return max((fact.as_of for fact in payment.facts if fact.as_of is not None), default=None)
