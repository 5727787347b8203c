"""Each event is added to the facts, and the messages that they now require are scheduled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from faststream.rabbit import RabbitRouter

from contracts.checkout import ReceiptIssued, StudentUpdated
from contracts.envelope import Envelope, Event
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.subscriber import carries, subscriber
from kit.runtime.trace import cause_of_latest
from notifications import db, documents
from notifications.domain import Rules
from notifications.planner import plan
from notifications.student_facts import has_contact
from notifications.topology import CHECKOUT, ENROLLMENTS, INSTRUCTORS, MILADY, PAYMENTS


def consumers(rules: Rules) -> RabbitRouter:
    router = RabbitRouter()
    checkout = subscriber(router, CHECKOUT)

    async def plan_all(uow: UnitOfWork, events: Sequence[Envelope[Any]]) -> None:
        await documents.save_all(uow.db, [event.data for event in events if isinstance(event.data, ReceiptIssued)])
        by_id = {event.id: event for event in events}
        groups = []
        with_contact = set[UUID]()
        for group, facts in await db.merge_all(
            uow, [documents.without_content(event) for event in events], rules.policy
        ):
            merged = [by_id[id] for id in group.merged]
            groups.append((facts, cause_of_latest(merged)))
            if any(has_contact(event.data) for event in merged):
                with_contact.update(enrollment.student_id for enrollment in facts.enrollments)
        await plan(groups, rules, uow)
        await db.requeue_without_contact(uow, with_contact)

    @subscriber(router, PAYMENTS)(filter=carries(*PAYMENTS.events, together=plan_all))
    @checkout(filter=carries(*(event for event in CHECKOUT.events if event is not StudentUpdated), together=plan_all))
    @subscriber(router, ENROLLMENTS)(filter=carries(*ENROLLMENTS.events, together=plan_all))
    @subscriber(router, INSTRUCTORS)(filter=carries(*INSTRUCTORS.events, together=plan_all))
    @subscriber(router, MILADY)(filter=carries(*MILADY.events, together=plan_all))
    async def plan_messages(event: Envelope[Event], uow: UnitOfWork) -> None:
        await plan_all(uow, [event])

    async def save_all(uow: UnitOfWork, events: Sequence[Envelope[StudentUpdated]]) -> None:
        students = {event.data.student_id for event in events}
        await db.lock_contacts(uow.db, students)
        await db.save_contacts(uow.db, events)
        await db.requeue_without_contact(uow, students)

    @checkout(filter=carries(StudentUpdated, together=save_all))
    async def save_contact(event: Envelope[StudentUpdated], uow: UnitOfWork) -> None:
        await save_all(uow, [event])

    return router
