"""A payment event becomes a seat, once, whatever order the facts arrive in; a track's seat becomes studies."""

from __future__ import annotations

from typing import cast

from contracts.checkout import CatalogItemChanged
from contracts.envelope import Envelope
from contracts.facts import DEFAULT_POLICY, Facts, Policy, Seat, keys, seats
from contracts.payments import PaymentEvent
from contracts.people import enrollment_uuid
from contracts.registry import PAYMENT_EVENTS
from enrollment import curricula, db, domain, studies
from enrollment.domain import Status
from enrollment.topology import CATALOG, PAYMENTS
from kit.consumer import Consumer
from kit.work import Work


def payments(policy: Policy = DEFAULT_POLICY) -> Consumer:
    consumer = Consumer(PAYMENTS)

    @consumer.on(*PAYMENT_EVENTS)
    async def settle(heard: Envelope[PaymentEvent], work: Work) -> None:
        facts = cast(Facts, await work.merge(heard, keys(heard.data)))
        found = seats(facts)
        await curricula.hold(work.db, (seat.program.slug for seat in found if domain.is_track(seat.program)))
        for seat in found:
            await _settle_seat(seat, policy, work)

    return consumer


def catalog() -> Consumer:
    consumer = Consumer(CATALOG)

    @consumer.on(CatalogItemChanged)
    async def learn(heard: Envelope[CatalogItemChanged], work: Work) -> None:
        """Whoever has paid for the track already begins now; whoever is under way keeps the copy they began with."""
        if await curricula.replace(work, heard.data):
            waiting = await curricula.waiting_for(work.db, heard.data.item.slug)
            await studies.begin(work.db, waiting, projects=heard.data.projects)

    return consumer


async def _settle_seat(seat: Seat, policy: Policy, work: Work) -> None:
    seat_id = enrollment_uuid(seat.student_id, seat.program.slug)
    row = await db.lock(work.db, seat_id)
    begun = await studies.read(work.db, seat_id) if row is not None and domain.is_track(seat.program) else None
    change = domain.settle(
        seat=seat,
        known=db.state_of(row) if row is not None else None,
        finished=begun is not None and begun.finished,
        policy=policy,
    )
    if change is None:
        return
    revision = row.revision if row is not None else 0
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
    if change.state.track and change.state.status is Status.ACTIVE and not (begun and begun.projects):
        projects = await curricula.projects_of(work.db, change.state.track)
        await studies.begin(work.db, [(seat_id, seat.student_id)], projects=projects)
