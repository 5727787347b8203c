"""A payment event becomes an enrollment, once, whatever order the facts arrive in; a track's enrollment becomes studies."""

from __future__ import annotations

from typing import cast

from contracts.checkout import CatalogItemChanged
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent
from contracts.people import enrollment_uuid
from contracts.registry import PAYMENT_EVENTS
from enrollment import curricula, db, domain, studies
from enrollment.domain import Status
from enrollment.topology import CATALOG, PAYMENTS
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.consumer import Consumer
from ledger.enrollments_tmp import Enrollment, enrollments
from ledger.facts import Facts, keys
from ledger.policy import DEFAULT_POLICY, Policy


def payments(policy: Policy = DEFAULT_POLICY) -> Consumer:
    consumer = Consumer(PAYMENTS)

    @consumer.on(*PAYMENT_EVENTS)
    async def settle(heard: Envelope[PaymentEvent], uow: UnitOfWork) -> None:
        facts = cast(Facts, await uow.merge(heard, keys))
        found = enrollments(facts)
        await curricula.hold(
            uow.db, (enrollment.program.slug for enrollment in found if domain.is_track(enrollment.program))
        )
        for enrollment in found:
            await _settle_enrollment(enrollment, policy, uow)

    return consumer


def catalog() -> Consumer:
    consumer = Consumer(CATALOG)

    @consumer.on(CatalogItemChanged)
    async def learn(heard: Envelope[CatalogItemChanged], uow: UnitOfWork) -> None:
        """Whoever has paid for the track already begins now; whoever is under way keeps the copy they began with."""
        if await curricula.replace(uow, heard.data):
            waiting = await curricula.waiting_for(uow.db, heard.data.item.slug)
            await studies.begin(uow.db, waiting, projects=heard.data.projects)

    return consumer


async def _settle_enrollment(enrollment: Enrollment, policy: Policy, uow: UnitOfWork) -> None:
    enrollment_id = enrollment_uuid(enrollment.student_id, enrollment.program.slug)
    row = await db.lock(uow.db, enrollment_id)
    begun = (
        await studies.read(uow.db, enrollment_id) if row is not None and domain.is_track(enrollment.program) else None
    )
    change = domain.settle(
        enrollment=enrollment,
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
            enrollment_id=enrollment_id,
            student_id=enrollment.student_id,
            program=enrollment.program,
            purchase_id=change.state.purchase_id,
            revision=revision,
            reason=change.state.reason,
        )
        await uow.publish(
            event, id=f"{enrollment_id}/{revision}/{event.type}", subject=str(change.state.purchase_id or enrollment_id)
        )
    await db.write(
        uow.db,
        enrollment_id,
        student_id=enrollment.student_id,
        program=enrollment.program,
        state=change.state,
        revision=revision,
        at=uow.now,
    )
    if change.state.track and change.state.status is Status.ACTIVE and not (begun and begun.projects):
        projects = await curricula.projects_of(uow.db, change.state.track)
        await studies.begin(uow.db, [(enrollment_id, enrollment.student_id)], projects=projects)
