"""Students get a case manager in a service that checkout tells of it."""

from __future__ import annotations

from uuid import UUID

from tests.deliveries import deliver, envelope

from contracts.checkout import StudentCaseManagerChanged
from kit.db.database import Database
from kit.messaging.caseload import caseload_events, caseload_queue


async def assign(
    database: Database, service: str, case_manager: UUID | None, *students: UUID, revision: int = 1
) -> None:
    events = caseload_events(caseload_queue(service))
    for student in students:
        event = StudentCaseManagerChanged(student_id=student, case_manager_id=case_manager, revision=revision)
        await deliver(database, events, service, envelope(f"{student}/{revision}/{event.type}", event))
