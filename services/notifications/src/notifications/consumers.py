"""An event becomes the messages that it calls for, each once, whatever order the facts arrive in."""

from __future__ import annotations

from contracts.checkout import PurchaseCreated, ReceiptIssued, RefundDecided, RefundRequested, StudentUpdated
from contracts.envelope import Envelope, Event
from contracts.registry import PAYMENT_EVENTS, PUBLISHED_BY
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.consumer import Consumer
from kit.messaging.topology import Queue
from notifications import db, documents
from notifications.considering import consider
from notifications.domain import Rules
from notifications.known import names_a_contact
from notifications.topology import CHECKOUT, ENROLLMENTS, INSTRUCTORS, MILADY, PAYMENTS


def consumers(rules: Rules) -> list[Consumer]:
    from_checkout = _listening(CHECKOUT, (PurchaseCreated, RefundRequested, RefundDecided), rules)

    @from_checkout.on(StudentUpdated)
    async def keep_contact(heard: Envelope[StudentUpdated], uow: UnitOfWork) -> None:
        student_id = heard.data.student_id
        await db.lock_contact(uow.db, student_id)
        await db.keep_contact(uow.db, student_id, heard.data.contact, at=heard.time, event_id=heard.id)
        await db.wake_waiting(uow, (student_id,))

    @from_checkout.on(ReceiptIssued)
    async def keep_document(heard: Envelope[ReceiptIssued], uow: UnitOfWork) -> None:
        await documents.keep(uow.db, heard.data)
        await consider(await db.merge(uow, documents.without_content(heard)), rules, uow)

    return [
        _listening(PAYMENTS, PAYMENT_EVENTS, rules),
        from_checkout,
        _listening(ENROLLMENTS, PUBLISHED_BY["enrollment"], rules),
        _listening(INSTRUCTORS, PUBLISHED_BY["instructor-assignment"], rules),
        _listening(MILADY, PUBLISHED_BY["milady-integration"], rules),
    ]


def _listening(queue: Queue, events: tuple[type[Event], ...], rules: Rules) -> Consumer:
    consumer = Consumer(queue)

    @consumer.on(*events)
    async def learn(heard: Envelope[Event], uow: UnitOfWork) -> None:
        known = await db.merge(uow, heard)
        await consider(known, rules, uow)
        if names_a_contact(heard.data):
            await db.wake_waiting(uow, {place.student_id for place in known.places})

    return consumer
