"""A payment event becomes a place at Milady, if the program is one of theirs."""

from __future__ import annotations

from typing import cast

from contracts.checkout import PurchaseCreated
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent
from contracts.registry import PAYMENT_EVENTS
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.consumer import Consumer
from ledger.enrollments_tmp import enrollments
from ledger.facts import Facts, keys
from ledger.policy import DEFAULT_POLICY, Policy
from milady_integration import db, domain
from milady_integration.domain import Mode
from milady_integration.following import follow
from milady_integration.topology import PAYMENTS, PURCHASES


def payments(mode: Mode = "api", policy: Policy = DEFAULT_POLICY) -> Consumer:
    consumer = Consumer(PAYMENTS)

    @consumer.on(*PAYMENT_EVENTS)
    async def settle(heard: Envelope[PaymentEvent], uow: UnitOfWork) -> None:
        facts = cast(Facts, await uow.merge(heard, keys))
        found = {(enrollment.student_id, enrollment.program.slug): enrollment for enrollment in enrollments(facts)}
        for slug in sorted({slug for _, slug in found}):
            await db.lock_program(uow.db, slug)
        told = [heard.data.program, *(enrollment.program for enrollment in found.values())]
        for program in {program.slug: program for program in told if program and domain.is_miladys(program)}.values():
            await db.learn_program(uow, program)
        for key in db.in_order(found):
            enrollment = found[key]
            await db.lock_enrollment(uow.db, domain.enrollment_id(*key))
            wanted = domain.wanted(enrollment=enrollment, policy=policy)
            contact = domain.contact_of(enrollment, policy)
            known = await db.note_enrollment(uow, enrollment.student_id, enrollment.program, wanted, contact)
            await follow(uow, known, mode)

    return consumer


def purchases() -> Consumer:
    """A purchase that was started says which program is whose, and that the enrollment is not unknown but unpaid."""
    consumer = Consumer(PURCHASES)

    @consumer.on(PurchaseCreated)
    async def note(heard: Envelope[PurchaseCreated], uow: UnitOfWork) -> None:
        bought = heard.data
        if domain.is_miladys(bought.program):
            await db.learn_program(uow, bought.program)
        await db.lock_enrollment(uow.db, domain.enrollment_id(bought.student_id, bought.program.slug))
        await db.note_purchase(uow, bought.student_id, bought.program, bought.purchase_id)

    return consumer
