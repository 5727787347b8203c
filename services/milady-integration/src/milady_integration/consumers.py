"""A payment event becomes a place at Milady, if the program is one of theirs."""

from __future__ import annotations

from typing import cast

from contracts.checkout import PurchaseCreated
from contracts.envelope import Envelope
from contracts.facts import DEFAULT_POLICY, Facts, Policy, keys, seats
from contracts.payments import PaymentEvent
from contracts.registry import PAYMENT_EVENTS
from kit.consumer import Consumer
from kit.work import Work
from milady_integration import db, domain
from milady_integration.domain import Mode
from milady_integration.following import follow
from milady_integration.topology import PAYMENTS, PURCHASES


def payments(mode: Mode = "api", policy: Policy = DEFAULT_POLICY) -> Consumer:
    consumer = Consumer(PAYMENTS)

    @consumer.on(*PAYMENT_EVENTS)
    async def settle(heard: Envelope[PaymentEvent], work: Work) -> None:
        facts = cast(Facts, await work.merge(heard, keys(heard.data)))
        found = {(seat.student_id, seat.program.slug): seat for seat in seats(facts)}
        for slug in sorted({slug for _, slug in found}):
            await db.lock_program(work.db, slug)
        told = [heard.data.program, *(seat.program for seat in found.values())]
        for program in {program.slug: program for program in told if program and domain.is_miladys(program)}.values():
            await db.learn_program(work, program)
        for key in db.in_order(found):
            seat = found[key]
            await db.lock_seat(work.db, domain.seat_id(*key))
            wanted = domain.wanted(seat=seat, policy=policy)
            contact = domain.contact_of(seat, policy)
            known = await db.note_seat(work, seat.student_id, seat.program, wanted, contact)
            await follow(work, known, mode)

    return consumer


def purchases() -> Consumer:
    """A purchase that was started says which program is whose, and that the seat is not unknown but unpaid."""
    consumer = Consumer(PURCHASES)

    @consumer.on(PurchaseCreated)
    async def note(heard: Envelope[PurchaseCreated], work: Work) -> None:
        bought = heard.data
        if domain.is_miladys(bought.program):
            await db.learn_program(work, bought.program)
        await db.lock_seat(work.db, domain.seat_id(bought.student_id, bought.program.slug))
        await db.note_purchase(work, bought.student_id, bought.program, bought.purchase_id)

    return consumer
