"""A payment event becomes an instructor for the student, once, whatever order the facts arrive in."""

from __future__ import annotations

from typing import cast

from contracts.envelope import Envelope
from contracts.facts import DEFAULT_POLICY, Facts, Policy, keys, seats
from contracts.payments import PaymentEvent
from contracts.registry import PAYMENT_EVENTS
from instructor_assignment import db, domain, places
from instructor_assignment.topology import PAYMENTS
from kit.consumer import Consumer
from kit.work import Work


def payments(policy: Policy = DEFAULT_POLICY) -> Consumer:
    consumer = Consumer(PAYMENTS)

    @consumer.on(*PAYMENT_EVENTS)
    async def settle(heard: Envelope[PaymentEvent], work: Work) -> None:
        facts = cast(Facts, await work.merge(heard, keys(heard.data)))
        open_wishes = []
        for seat in seats(facts):
            wish = domain.wish(seat=seat, policy=policy)
            assignment_id = domain.assignment_id(seat.student_id, seat.program.slug)
            # most events change nothing, and those need not queue up for the program's lock
            if wish and not domain.fulfilled(wish=wish, known=await db.read(work.db, assignment_id)):
                open_wishes.append((assignment_id, seat, wish))
        await db.lock_programs(work.db, (seat.program.slug for _, seat, _ in open_wishes))
        for assignment_id, seat, wish in open_wishes:
            known = await db.read(work.db, assignment_id)
            teachers = await db.teachers(work.db, seat.program.slug)
            change = domain.settle(seat=seat, wish=wish, known=known, teachers=teachers, at=work.now)
            await db.apply(work, change)
            if change.frees_a_place:
                await places.fill(work, seat.program.slug)

    return consumer
