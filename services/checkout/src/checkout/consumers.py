"""Updates purchases from payment events, and checkout's read model of enrollments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import zip_longest

from faststream.rabbit import RabbitRouter

from checkout.installments import event_handlers as installments
from checkout.installments.shortfall import close_outdated
from checkout.memberships import event_handlers as memberships
from checkout.payments import event_handlers as payments
from checkout.payments.late_payments import LatePayments, return_late_payments
from checkout.payments.purchase_ends import end_on_lost_disputes
from checkout.purchases import recorder, repository, student_repository
from checkout.purchases.domain import EnrollmentStatus
from checkout.purchases.event_handlers import update_purchases
from checkout.purchases.unmatched import UNMATCHED_DELAY, Match, update_unmatched
from checkout.purchases.update import PurchaseUpdate, UpdateHandler, logged
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

ENROLLMENT_STATUS: dict[type[EnrollmentEvent], EnrollmentStatus] = {
    EnrollmentPending: "pending",
    EnrollmentActivated: "active",
    EnrollmentPaused: "paused",
    EnrollmentResumed: "active",
    EnrollmentWithdrawn: "withdrawn",
    EnrollmentCompleted: "completed",
}


Events = Sequence[Envelope[PaymentEvent]]
ISSUER = ReceiptIssuer()


def handlers_of(policy: Policy, late_payments: LatePayments, issuer: ReceiptIssuer) -> tuple[UpdateHandler, ...]:
    """In their order. Receipts come last: they contain what the others have written."""
    return (
        partial(payments.update_payments, on_merged=move_documents),
        partial(end_on_lost_disputes, policy=policy),
        partial(return_late_payments, policy=policy, late_payments=late_payments),
        installments.update_installments,
        close_outdated,
        memberships.update_memberships,
        issuer.issue_receipts,
    )


def payment_events(
    policy: Policy = DEFAULT_POLICY,
    *,
    late_payments: LatePayments = "refund",
    issuer: ReceiptIssuer = ISSUER,
    unmatched_delay: timedelta = UNMATCHED_DELAY,
) -> RabbitRouter:
    """A payment that was not started here becomes a purchase first, or is listed as unmatched."""
    router = RabbitRouter()
    messages = subscriber(router, PAYMENTS)
    handlers = handlers_of(policy, late_payments, issuer)

    async def update(matches: Sequence[tuple[Match, Events]]) -> None:
        """Of purchases whose events are in different groups."""
        updates = [
            PurchaseUpdate(uow=each.uow, row=each.row, purchase=each.purchase, events=events)
            for each, events in matches
            if each.row is not None
        ]
        if updates:
            updates = await update_purchases(updates, policy)
            for handler in handlers:
                await handler(updates)
        await update_unmatched([match for match, _ in matches], delay=unmatched_delay)

    async def update_alone(uow: UnitOfWork, events: Events) -> None:
        """`events`: the new ones of one group, whose purchases may have to be recorded."""
        group = await uow.merge(events[0], recorder.FACT_RULES)
        await repository.set_actor(uow.db, f"event:{cause_of_latest(events).id}")
        for each in fold(group.facts):
            purchase, row, code = await recorder.find_or_record(uow, each)
            await update([(Match(uow=uow, purchase=purchase, row=row, code=code), events)])

    async def update_together(uow: UnitOfWork, events: Events) -> None:
        """Purchases that were started here share their statements. A group that has to be recorded may be joined with
        another one, so these follow, one after the other."""
        await uow.merge_ahead(events, recorder.FACT_RULES)
        waiting = [(replace(uow, cause=cause_of_latest(own)), own) for own in _by_group(uow, events)]
        for acting, own in waiting:
            await installments.publish_connected(acting, own)
        folded = [fold(uow.groups[own[0].id].facts) for _, own in waiting]
        ids = {each.id for purchases in folded for each in purchases if each.id is not None}
        rows = {row.id: row for row in await repository.lock_purchases(uow.db, ids)}
        ready, others = list[list[tuple[Match, Events]]](), list[Envelope[PaymentEvent]]()
        for (acting, own), purchases in zip(waiting, folded, strict=True):
            found = [recorder.find(each, rows) for each in purchases]
            if None in found:
                others += own
                continue
            each_found = (each for each in found if each is not None)
            ready.append([(Match(uow=acting, purchase=p, row=r, code=c), own) for p, r, c in each_found])
        for matches in zip_longest(*ready):
            await update([each for each in matches if each is not None])
        while others:
            own = _by_group(uow, others)[0]  # anew each time: recording a payment may have joined groups
            handled = {each.id for each in own}
            others = [each for each in others if each.id not in handled]
            with logged(own):
                await update_alone(replace(uow, cause=cause_of_latest(own)), own)

    @messages(filter=carries(*PAYMENT_EVENTS, together=update_together))
    async def update_purchases_of(event: Envelope[PaymentEvent], uow: UnitOfWork) -> None:
        await update_together(uow, [event])

    return router


def _by_group(uow: UnitOfWork, events: Events) -> list[list[Envelope[PaymentEvent]]]:
    found: dict[int, list[Envelope[PaymentEvent]]] = {}
    for each in events:
        found.setdefault(id(uow.groups[each.id]), []).append(each)
    return list(found.values())


def enrollment_events() -> RabbitRouter:
    router = RabbitRouter()
    messages = subscriber(router, ENROLLMENTS)

    async def update_statuses(uow: UnitOfWork, events: Sequence[Envelope[EnrollmentEvent]]) -> None:
        changes = [(event.data, ENROLLMENT_STATUS[type(event.data)]) for event in events]
        await student_repository.write_enrollments(uow.db, changes, at=uow.now)

    async def update_percentages(uow: UnitOfWork, events: Sequence[Envelope[EnrollmentProgressed]]) -> None:
        await student_repository.write_progress(uow.db, [event.data for event in events])

    @messages(filter=carries(*ENROLLMENT_STATUS, together=update_statuses))
    async def update_enrollment_status(event: Envelope[EnrollmentEvent], uow: UnitOfWork) -> None:
        await update_statuses(uow, [event])

    @messages(filter=carries(EnrollmentProgressed, together=update_percentages))
    async def update_progress(event: Envelope[EnrollmentProgressed], uow: UnitOfWork) -> None:
        await update_percentages(uow, [event])

    return router
