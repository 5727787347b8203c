"""What the packages are given when payment events of purchases have arrived."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from structlog.contextvars import bound_contextvars

from checkout.purchases.repository import PurchaseRow
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent
from kit.db.unit_of_work import UnitOfWork
from ledger.purchase import Purchase


@dataclass(frozen=True, kw_only=True)
class PurchaseUpdate:
    """One purchase, and the transaction in which its rows are brought up to date.

    uow:      acts for the latest of the events
    row:      the purchase's row, locked by this transaction and up to date
    purchase: what all its events say
    events:   the new ones of its group
    """

    uow: UnitOfWork
    row: PurchaseRow
    purchase: Purchase
    events: Sequence[Envelope[PaymentEvent]]


def logged(events: Sequence[Envelope[PaymentEvent]]) -> AbstractContextManager[None]:
    """What is logged meanwhile names these events, instead of all of the batch."""
    ids, correlations = zip(*((each.id, each.correlation_id or each.id) for each in events), strict=True)
    if len(events) == 1:
        return bound_contextvars(event_id=ids[0], correlation=correlations[0])
    return bound_contextvars(event_id=ids, correlation=correlations)


UpdateHandler = Callable[[Sequence[PurchaseUpdate]], Awaitable[None]]
"""A package's part of handling payment events, for one or more purchases of one transaction whose events are in
different groups. Any order and any repetition of the events must end in the same rows."""
