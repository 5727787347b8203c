"""How a service takes part in an erasure: it hears the request, erases in a job, and publishes that it has.

The request's transaction only notes the identifiers: from its commit on, no event brings the person back. The job
erases what is there, in one transaction, and once more later: processes of an earlier version, and requests that were
being answered, may have written meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from datetime import timedelta
from uuid import UUID

import structlog
from faststream.rabbit import RabbitRouter

from contracts.envelope import Envelope
from contracts.erasure import StudentErased, StudentErasureRequested
from contracts.personal_data import identifiers
from kit.db.unit_of_work import UnitOfWork
from kit.jobs.jobs import Job
from kit.messaging.broker import Publisher
from kit.messaging.dead_letters import dead_letters
from kit.messaging.outbox import OutgoingMessage
from kit.messaging.publishers import KEY_HEADER, PUBLISHER_HEADER
from kit.messaging.subscriber import carries, subscriber
from kit.messaging.topology import Queue
from kit.personal_data import erased
from kit.personal_data.declaration import Person, PersonalData
from kit.personal_data.erasure import ERASURE, erase, without_personal_data
from kit.runtime.backoff import Backoff
from kit.runtime.failures import describe

log = structlog.get_logger(__name__)

AGAIN_AFTER = timedelta(minutes=10)


def erasure_queue(service: str) -> Queue:
    return Queue(f"{service}.erasures", events=(StudentErasureRequested,))


def erasure_requests(queue: Queue) -> RabbitRouter:
    router = RabbitRouter()

    @subscriber(router, queue)(filter=carries(StudentErasureRequested))
    async def enqueue_erasure(event: Envelope[StudentErasureRequested], uow: UnitOfWork) -> None:
        await note_erasure(event, uow)

    return router


async def note_erasure(event: Envelope[StudentErasureRequested], uow: UnitOfWork) -> None:
    person_id = event.data.student_id
    names = sorted({str(person_id), *event.data.identifiers})
    await erased.lock(uow.db)
    await erased.add(uow.db, names)
    for number, delay in enumerate((timedelta(), AGAIN_AFTER), start=1):
        payload = {"person_id": str(person_id), "identifiers": names, "request": event.id, "number": number}
        key = f"{event.id}/{number}"
        await uow.enqueue(ERASURE, key=key, payload=payload, available_at=uow.now + delay)


class ErasureJob:
    """Erases a person in the service's dead letters and in its database, and publishes how many rows it has changed."""

    backoff = Backoff(longest=timedelta(minutes=10), attempts=2**31)  # until it succeeds: the request has no other end

    def __init__(self, personal: PersonalData, amqp_url: str, publisher: Publisher, queues: Sequence[Queue]) -> None:
        self._personal = personal
        self._amqp_url = amqp_url
        self._publisher = publisher
        self._queues = queues

    async def perform(self, job: Job) -> None:
        names = frozenset(job.payload["identifiers"])
        for queue in self._queues:
            await self._erase_dead_letters(queue, names)

    async def record(self, job: Job, result: None, uow: UnitOfWork) -> None:
        person = Person(id=UUID(job.payload["person_id"]), identifiers=frozenset(job.payload["identifiers"]))
        rows = await erase(uow.db, self._personal, person)
        if job.payload["number"] == 1:
            event = StudentErased(student_id=person.id, rows=rows)
            id = f"{job.payload['request']}/{uow.source}/{event.type}"
            await uow.publish(event, id=id, subject=str(person.id))
        log.info("person erased", rows=rows, number=job.payload["number"])

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("person not erased", error=describe(error))

    async def _erase_dead_letters(self, queue: Queue, names: frozenset[str]) -> None:
        """Each that names the person is published to the dead-letter queue again, without personal data."""
        async with (
            dead_letters(self._amqp_url, queue.name) as letters,
            aclosing(letters.messages()) as messages,
        ):
            async for message, letter in messages:
                if identifiers(message.body).isdisjoint(names):
                    continue
                type_ = letter.type if letter.complete else ""
                body = without_personal_data(self._personal, type_, message.body)
                if body == message.body:
                    continue
                headers = {name: value for name, value in message.headers.items() if not name.startswith("x-")}
                headers.setdefault(PUBLISHER_HEADER, message.user_id)
                copy = OutgoingMessage(
                    key=str(headers.get(KEY_HEADER, letter.event_id)),  # its row is erased as well
                    exchange=queue.exchange,
                    routing_key=queue.dead,
                    body=body,
                    headers={name: value for name, value in headers.items() if isinstance(value, (int, str))},
                )
                await self._publisher.publish(copy)
                await message.ack()
