"""What happens to a purchase's money, and to the enrollment that it bought, becomes its state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, cast

from sqlalchemy import Row

from checkout.installments import event_handlers as schedules
from checkout.memberships import event_handlers as memberships
from checkout.payments import event_handlers as money
from checkout.purchases import domain, repository
from checkout.purchases.event_handlers import settle
from checkout.receipts.repository import move_documents
from checkout.receipts.service import Issuer
from checkout.topology import ENROLLMENTS, PAYMENTS
from contracts.enrollment import (
    EnrollmentActivated,
    EnrollmentCompleted,
    EnrollmentEvent,
    EnrollmentPaused,
    EnrollmentPending,
    EnrollmentResumed,
    EnrollmentWithdrawn,
)
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent
from contracts.registry import PAYMENT_EVENTS
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.consumer import Consumer
from ledger.facts import Facts, fold, keys
from ledger.policy import DEFAULT_POLICY, Policy
from ledger.purchase import Purchase

SEAT_STATUS: dict[type[EnrollmentEvent], domain.SeatStatus] = {
    EnrollmentPending: "pending",
    EnrollmentActivated: "active",
    EnrollmentPaused: "paused",
    EnrollmentResumed: "active",
    EnrollmentWithdrawn: "withdrawn",
    EnrollmentCompleted: "completed",
}


Follow = Callable[[UnitOfWork, Row[Any], Purchase, Envelope[PaymentEvent]], Awaitable[None]]
"""What a room does when something is heard about a purchase of ours: given its row, locked and settled already, and all
that is known of its money. Any order and any repetition must end in the same rows."""

ROOMS: tuple[Follow, ...] = (partial(money.follow, on_merged=move_documents), schedules.follow, memberships.follow)
ISSUER = Issuer()


def payments(policy: Policy = DEFAULT_POLICY, rooms: Sequence[Follow] = ROOMS, issuer: Issuer = ISSUER) -> Consumer:
    """Receipts come last: they say what the other rooms have noted."""
    consumer = Consumer(PAYMENTS)

    @consumer.on(*PAYMENT_EVENTS)
    async def hear(heard: Envelope[PaymentEvent], uow: UnitOfWork) -> None:
        known = cast(Facts, await uow.merge(heard, keys(heard.data)))
        await repository.act_as(uow.db, f"event:{heard.id}")
        for purchase in fold(known):
            row = await settle(purchase.id, purchase, policy, heard, uow) if purchase.id is not None else None
            if row is not None:
                for follow in (*rooms, issuer.follow):
                    await follow(uow, row, purchase, heard)

    return consumer


def enrollments() -> Consumer:
    consumer = Consumer(ENROLLMENTS)

    @consumer.on(*SEAT_STATUS)
    async def note(heard: Envelope[EnrollmentEvent], uow: UnitOfWork) -> None:
        status = SEAT_STATUS[type(heard.data)]
        await repository.write_enrollment(uow.db, heard.data, status=status, at=uow.now)

    return consumer
