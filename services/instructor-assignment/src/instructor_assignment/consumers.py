"""A payment event becomes an instructor for the student, once, whatever order the facts arrive in."""

from __future__ import annotations

from typing import cast

from contracts.envelope import Envelope
from contracts.payments import PaymentEvent
from contracts.registry import PAYMENT_EVENTS
from instructor_assignment import db, domain, places
from instructor_assignment.topology import PAYMENTS
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.consumer import Consumer
from ledger.enrollments_tmp import enrollments
from ledger.facts import Facts, keys
from ledger.policy import DEFAULT_POLICY, Policy


def payments(policy: Policy = DEFAULT_POLICY) -> Consumer:
    consumer = Consumer(PAYMENTS)

    @consumer.on(*PAYMENT_EVENTS)
    async def settle(heard: Envelope[PaymentEvent], uow: UnitOfWork) -> None:
        facts = cast(Facts, await uow.merge(heard, keys))
        open_wishes = []
        for enrollment in enrollments(facts):
            wish = domain.wish(enrollment=enrollment, policy=policy)
            assignment_id = domain.assignment_id(enrollment.student_id, enrollment.program.slug)
            # most events change nothing, and those need not queue up for the program's lock
            if wish and not domain.fulfilled(wish=wish, known=await db.read(uow.db, assignment_id)):
                open_wishes.append((assignment_id, enrollment, wish))
        await db.lock_programs(uow.db, (enrollment.program.slug for _, enrollment, _ in open_wishes))
        for assignment_id, enrollment, wish in open_wishes:
            known = await db.read(uow.db, assignment_id)
            teachers = await db.teachers(uow.db, enrollment.program.slug)
            change = domain.settle(enrollment=enrollment, wish=wish, known=known, teachers=teachers, at=uow.now)
            await db.apply(uow, change)
            if change.frees_a_place:
                await places.fill(uow, enrollment.program.slug)

    return consumer
