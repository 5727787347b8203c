"""Each event is added to the facts, and the messages that they now require are scheduled."""

from __future__ import annotations

from faststream.rabbit import RabbitRouter

from contracts.checkout import ReceiptIssued, StudentUpdated
from contracts.envelope import Envelope, Event
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.subscriber import carries, subscriber
from notifications import db, documents
from notifications.domain import Rules
from notifications.planner import plan
from notifications.student_facts import has_contact
from notifications.topology import CHECKOUT, ENROLLMENTS, INSTRUCTORS, MILADY, PAYMENTS


def consumers(rules: Rules) -> RabbitRouter:
    router = RabbitRouter()
    checkout = subscriber(router, CHECKOUT)
    with_own_handler = (ReceiptIssued, StudentUpdated)

    @subscriber(router, PAYMENTS)(filter=carries(*PAYMENTS.events, merging=db.FACT_RULES))
    @checkout(
        filter=carries(*(event for event in CHECKOUT.events if event not in with_own_handler), merging=db.FACT_RULES)
    )
    @subscriber(router, ENROLLMENTS)(filter=carries(*ENROLLMENTS.events, merging=db.FACT_RULES))
    @subscriber(router, INSTRUCTORS)(filter=carries(*INSTRUCTORS.events, merging=db.FACT_RULES))
    @subscriber(router, MILADY)(filter=carries(*MILADY.events, merging=db.FACT_RULES))
    async def plan_messages(event: Envelope[Event], uow: UnitOfWork) -> None:
        facts = await db.merge(uow, event, rules.policy)
        await plan(facts, rules, uow)
        if has_contact(event.data):
            await db.requeue_without_contact(uow, {enrollment.student_id for enrollment in facts.enrollments})

    @checkout(filter=carries(ReceiptIssued))
    async def save_document(event: Envelope[ReceiptIssued], uow: UnitOfWork) -> None:
        await documents.save(uow.db, event.data)
        await plan(await db.merge(uow, documents.without_content(event), rules.policy), rules, uow)

    @checkout(filter=carries(StudentUpdated))
    async def save_contact(event: Envelope[StudentUpdated], uow: UnitOfWork) -> None:
        student_id = event.data.student_id
        await db.lock_contact(uow.db, student_id)
        await db.save_contact(uow.db, student_id, event.data.contact, at=event.time, event_id=event.id)
        await db.requeue_without_contact(uow, (student_id,))

    return router
