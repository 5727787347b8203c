"""Updates purchases from payment events, and checkout's read model of enrollments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import cast

from faststream.rabbit import RabbitRouter

from checkout.installments import event_handlers as installments
from checkout.memberships import event_handlers as memberships
from checkout.payments import event_handlers as payments
from checkout.purchases import repository, student_repository
from checkout.purchases.domain import EnrollmentStatus
from checkout.purchases.event_handlers import update_purchase
from checkout.purchases.repository import PurchaseRow
from checkout.receipts.repository import move_documents
from checkout.receipts.service import ReceiptIssuer
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
from kit.messaging.subscriber import carries, subscriber
from ledger.facts import Facts, fold, keys
from ledger.policy import DEFAULT_POLICY, Policy
from ledger.purchase import Purchase

ENROLLMENT_STATUS: dict[type[EnrollmentEvent], EnrollmentStatus] = {
    EnrollmentPending: "pending",
    EnrollmentActivated: "active",
    EnrollmentPaused: "paused",
    EnrollmentResumed: "active",
    EnrollmentWithdrawn: "withdrawn",
    EnrollmentCompleted: "completed",
}


Update = Callable[[UnitOfWork, PurchaseRow, Purchase, Envelope[PaymentEvent]], Awaitable[None]]
"""What a room does when a payment event of a purchase has arrived: given the purchase's row, locked and up to date, and
its payment facts. Any order and any repetition of the events must end in the same rows."""

ROOMS: tuple[Update, ...] = (
    partial(payments.update_payments, on_merged=move_documents),
    installments.update_installments,
    memberships.update_membership,
)
ISSUER = ReceiptIssuer()


def payment_events(
    policy: Policy = DEFAULT_POLICY, rooms: Sequence[Update] = ROOMS, issuer: ReceiptIssuer = ISSUER
) -> RabbitRouter:
    """Receipts come last: they contain what the other rooms have written."""
    router = RabbitRouter()
    messages = subscriber(router, PAYMENTS)

    @messages(filter=carries(*PAYMENT_EVENTS))
    async def update_purchases(event: Envelope[PaymentEvent], uow: UnitOfWork) -> None:
        facts = cast(Facts, await uow.merge(event, keys))
        await repository.set_actor(uow.db, f"event:{event.id}")
        for purchase in fold(facts):
            if purchase.id is None:
                continue
            row = await update_purchase(purchase.id, purchase, policy, event, uow)
            if row is not None:
                for update in (*rooms, issuer.issue_receipts):
                    await update(uow, row, purchase, event)

    return router


def enrollment_events() -> RabbitRouter:
    router = RabbitRouter()
    messages = subscriber(router, ENROLLMENTS)

    @messages(filter=carries(*ENROLLMENT_STATUS))
    async def update_enrollment_status(event: Envelope[EnrollmentEvent], uow: UnitOfWork) -> None:
        status = ENROLLMENT_STATUS[type(event.data)]
        await student_repository.write_enrollment(uow.db, event.data, status=status, at=uow.now)

    return router
