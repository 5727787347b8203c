"""Updates purchases from payment events, and checkout's read model of enrollments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

from faststream.rabbit import RabbitRouter

from checkout.installments import event_handlers as installments
from checkout.installments.shortfall import close_outdated
from checkout.memberships import event_handlers as memberships
from checkout.payments import event_handlers as payments
from checkout.payments.late_payments import LatePayments, return_late_payments
from checkout.payments.purchase_ends import end_on_lost_dispute
from checkout.purchases import recorder, repository, student_repository
from checkout.purchases.domain import EnrollmentStatus
from checkout.purchases.event_handlers import update_purchase
from checkout.purchases.repository import PurchaseRow
from checkout.purchases.unmatched import UNMATCHED_DELAY, update_unmatched
from checkout.receipts.repository import move_documents
from checkout.receipts.service import ReceiptIssuer
from checkout.topology import ENROLLMENTS, PAYMENTS
from contracts.enrollment import (
    EnrollmentActivated,
    EnrollmentCompleted,
    EnrollmentEvent,
    EnrollmentPaused,
    EnrollmentPending,
    EnrollmentProgressed,
    EnrollmentResumed,
    EnrollmentWithdrawn,
)
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent
from contracts.registry import PAYMENT_EVENTS
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.subscriber import carries, subscriber
from kit.runtime.trace import cause_of_latest
from ledger.facts import fold
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


Update = Callable[[UnitOfWork, PurchaseRow, Purchase, Sequence[Envelope[PaymentEvent]]], Awaitable[None]]
"""A package's part of handling the payment events of a purchase: given the purchase's row, locked and up to date, all
its payment facts, and the events that are new. Any order and any repetition of the events must end in the same rows."""

ISSUER = ReceiptIssuer()


def updates_of(policy: Policy, late_payments: LatePayments) -> tuple[Update, ...]:
    return (
        partial(payments.update_payments, on_merged=move_documents),
        partial(end_on_lost_dispute, policy=policy),
        partial(return_late_payments, policy=policy, late_payments=late_payments),
        installments.update_installments,
        close_outdated,
        memberships.update_membership,
    )


def payment_events(
    policy: Policy = DEFAULT_POLICY,
    *,
    late_payments: LatePayments = "refund",
    issuer: ReceiptIssuer = ISSUER,
    unmatched_delay: timedelta = UNMATCHED_DELAY,
) -> RabbitRouter:
    """A payment that was not started here becomes a purchase first, or is listed as unmatched. Receipts come last: they
    contain what the other updates have written."""
    router = RabbitRouter()
    messages = subscriber(router, PAYMENTS)
    updates = (*updates_of(policy, late_payments), issuer.issue_receipts)

    async def update_group(uow: UnitOfWork, events: Sequence[Envelope[PaymentEvent]]) -> None:
        """`events`: the new ones of one group."""
        group = await uow.merge(events[0], recorder.FACT_RULES)
        cause = cause_of_latest(events)
        uow = replace(uow, cause=cause)
        await repository.set_actor(uow.db, f"event:{cause.id}")
        await installments.publish_connected(uow, events)
        for each in fold(group.facts):
            purchase, row, code = await recorder.find_or_record(uow, each)
            if row is not None:
                row = await update_purchase(row, purchase, policy, events, uow)
                for update in updates:
                    await update(uow, row, purchase, events)
            await update_unmatched(uow, purchase, row, code, delay=unmatched_delay)

    @messages(filter=carries(*PAYMENT_EVENTS, merging=recorder.FACT_RULES, together=update_group))
    async def update_purchases(event: Envelope[PaymentEvent], uow: UnitOfWork) -> None:
        await uow.merge_ahead([event], recorder.FACT_RULES)
        await update_group(uow, [event])

    return router


def enrollment_events() -> RabbitRouter:
    router = RabbitRouter()
    messages = subscriber(router, ENROLLMENTS)

    @messages(filter=carries(*ENROLLMENT_STATUS))
    async def update_enrollment_status(event: Envelope[EnrollmentEvent], uow: UnitOfWork) -> None:
        status = ENROLLMENT_STATUS[type(event.data)]
        await student_repository.write_enrollment(uow.db, event.data, status=status, at=uow.now)

    @messages(filter=carries(EnrollmentProgressed))
    async def update_progress(event: Envelope[EnrollmentProgressed], uow: UnitOfWork) -> None:
        await student_repository.write_progress(uow.db, event.data)

    return router
