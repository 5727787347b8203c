"""What checkout does when an erasure was requested, and when a service has made it."""

from __future__ import annotations

from faststream.rabbit import RabbitRouter

from checkout.erasures import repository
from checkout.topology import ERASURES
from contracts.envelope import Envelope
from contracts.erasure import StudentErased, StudentErasureRequested
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.subscriber import carries, subscriber
from kit.personal_data.erasure_requests import note_erasure


def erasure_events() -> RabbitRouter:
    router = RabbitRouter()
    messages = subscriber(router, ERASURES)

    @messages(filter=carries(StudentErasureRequested))
    async def enqueue_erasure(event: Envelope[StudentErasureRequested], uow: UnitOfWork) -> None:
        await note_erasure(event, uow)

    @messages(filter=carries(StudentErased))
    async def record_receipt(event: Envelope[StudentErased], uow: UnitOfWork) -> None:
        await repository.add_receipt(uow.db, event)

    return router
