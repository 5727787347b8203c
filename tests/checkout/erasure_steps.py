"""Steps for tests of erasures: request one, deliver the request, and perform the job."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import httpx
from tests.checkout.service import ADMIN, Service, bearer

from checkout.erasures.personal_data import PERSONAL
from contracts.envelope import Envelope
from contracts.erasure import StudentErased, StudentErasureRequested
from kit.db.unit_of_work import utc_now
from kit.personal_data.declaration import Person
from kit.personal_data.erasure import erase


def path_of(student: UUID) -> str:
    return f"/api/admin/students/{student}/erasure"


async def ask(service: Service, student: UUID) -> httpx.Response:
    return await service.call("POST", path_of(student), headers=bearer("admin", ADMIN))


async def requested(service: Service, student: UUID) -> Envelope[StudentErasureRequested]:
    """The event of an accepted request."""
    answer = await ask(service, student)
    assert answer.status_code == 202, answer.text
    return await latest_request(service, student)


async def latest_request(service: Service, student: UUID) -> Envelope[StudentErasureRequested]:
    rows = await service.rows(
        "SELECT headers ->> 'cloudEvents:id' AS event_id, convert_from(body, 'UTF8') AS body FROM outbox_messages"
        " WHERE routing_key = 'student.erasure_requested.v1' AND headers ->> 'cloudEvents:subject' = :id ORDER BY id",
        id=str(student),
    )
    data = StudentErasureRequested.model_validate_json(rows[-1]["body"])
    return Envelope(id=rows[-1]["event_id"], source="checkout", subject=str(student), time=utc_now(), data=data)


async def erased(service: Service, student: UUID) -> Envelope[StudentErasureRequested]:
    """Requested, heard, and made by checkout."""
    request = await requested(service, student)
    await service.deliver(request)
    await erase_again(service, request)
    return request


async def erase_again(service: Service, request: Envelope[StudentErasureRequested]) -> None:
    """What the job does, also the second one ten minutes later."""
    person = Person(id=request.data.student_id, identifiers=frozenset(request.data.identifiers))
    async with service.database.transaction() as db:
        await erase(db, PERSONAL, person)


async def has_contact(service: Service, student: UUID, email: str = "ann.vanish@example.com") -> None:
    body = {"email": email, "name": "Ann Vanish"}
    path = f"/api/admin/students/{student}/contact"
    answer = await service.call("PUT", path, json=body, headers=bearer("admin", ADMIN))
    assert answer.status_code == 200, answer.text


def receipt(
    request: Envelope[StudentErasureRequested], source: str, *, behind: timedelta = timedelta()
) -> Envelope[StudentErased]:
    """A service's answer to the request. `behind`: its clock."""
    data = StudentErased(student_id=request.data.student_id, rows={})
    return Envelope(
        id=f"{uuid4()}/{data.type}",
        source=source,
        subject=request.subject,
        time=utc_now() - behind,
        causation_id=request.id,
        data=data,
    )
