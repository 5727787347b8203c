"""A payment event becomes a seat, once, whatever order the facts arrive in."""

from __future__ import annotations

from typing import cast

from contracts.envelope import Envelope
from contracts.facts import DEFAULT_POLICY, Facts, Policy, Seat, keys, seats
from contracts.payments import PaymentEvent
from contracts.registry import PAYMENT_EVENTS
from enrollment import db, domain
from enrollment.topology import PAYMENTS
from kit.consumer import Consumer
from kit.work import Work


def payments(policy: Policy = DEFAULT_POLICY) -> Consumer:
    consumer = Consumer(PAYMENTS)

    @consumer.on(*PAYMENT_EVENTS)
    async def settle(heard: Envelope[PaymentEvent], work: Work) -> None:
        facts = cast(Facts, await work.merge(heard, keys(heard.data)))
        for seat in seats(facts):
            await _settle_seat(seat, policy, work)

    return consumer


async def _settle_seat(seat: Seat, policy: Policy, work: Work) -> None:
    seat_id = db.enrollment_id(seat.student_id, seat.program.slug)
    known, revision = await db.read(work.db, seat_id) or (None, 0)
    change = domain.settle(seat=seat, known=known, policy=policy)
    if change is None:
        return
    if change.event is not None:
        revision += 1
        event = change.event(
            enrollment_id=seat_id,
            student_id=seat.student_id,
            program=seat.program,
            purchase_id=change.state.purchase_id,
            revision=revision,
            reason=change.state.reason,
        )
        await work.say(event, id=f"{seat_id}/{revision}/{event.type}", subject=str(change.state.purchase_id or seat_id))
    await db.write(
        work.db,
        seat_id,
        student_id=seat.student_id,
        program=seat.program,
        state=change.state,
        revision=revision,
        at=work.now,
    )
