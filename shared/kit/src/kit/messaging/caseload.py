"""How a service whose API case managers call learns who is in their caseload."""

from __future__ import annotations

from faststream.rabbit import RabbitRouter

from contracts.checkout import StudentCaseManagerChanged
from contracts.envelope import Envelope
from kit.db import caseload
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.subscriber import carries, subscriber
from kit.messaging.topology import Queue


def caseload_queue(service: str) -> Queue:
    return Queue(f"{service}.caseload", events=(StudentCaseManagerChanged,))


def caseload_events(queue: Queue) -> RabbitRouter:
    router = RabbitRouter()

    @subscriber(router, queue)(filter=carries(StudentCaseManagerChanged))
    async def write_caseload(event: Envelope[StudentCaseManagerChanged], uow: UnitOfWork) -> None:
        changed = event.data
        await caseload.write(
            uow.db, changed.student_id, changed.case_manager_id, revision=changed.revision, at=event.time
        )

    return router
