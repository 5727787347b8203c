"""The jobs that the relay runs: enroll and withdraw at Milady, and adopt the enrollments of a new program of theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog

from contracts.milady_integration import CourseLink
from contracts.people import enrollment_uuid
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.jobs.jobs import Job, JobHandler
from kit.runtime.backoff import Backoff
from kit.runtime.failures import Permanent
from milady_integration import domain, repository
from milady_integration.domain import Change, DesiredState, Mode, ProviderEnrollment
from milady_integration.milady_client import MiladyClient, Refused, RemoteEnrollment
from milady_integration.reconciler import ENROLL, WITHDRAW, apply_change, reconcile

log = structlog.get_logger(__name__)

RETRY_FOR = timedelta(days=7)


def backoff_of(longest: timedelta) -> Backoff:
    """Retries for RETRY_FOR, at least every `longest`, so that an outage of hours needs no operator."""
    return Backoff(first=min(timedelta(seconds=2), longest), longest=longest, attempts=int(RETRY_FOR / longest / 0.75))


class Canceled:
    """Nothing was sent to Milady: the outcome was no longer desired before the first attempt, or there is no API."""


class _StepHandler:
    """What both steps share: finding the provider enrollment and recording the outcome."""

    def __init__(self, database: Database, client: MiladyClient | None, mode: Mode, backoff: Backoff) -> None:
        self._database = database
        self._client = client
        self._mode = mode
        self.backoff = backoff

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        code = error.code if isinstance(error, Refused) else "unavailable"
        await self._record(job, uow, lambda existing: domain.refused(existing=existing, code=code, mode=self._mode))

    async def _start(self, job: Job, *, unless: DesiredState) -> tuple[ProviderEnrollment, MiladyClient] | Canceled:
        """The provider enrollment and the client, or Canceled if the desired state is `unless` by now.

        Only a first attempt can be canceled: an earlier one may have reached Milady, and only its response under the
        same key tells. The next step then undoes it.
        """
        async with self._database.transaction() as db:
            existing = await repository.read_provider_enrollment(db, _enrollment_id(job))
        if existing is None:
            raise Permanent("step without a provider enrollment")
        if job.attempt == 1 and (existing.desired_state is unless or self._client is None):
            return Canceled()
        if self._client is None:
            raise Refused("handed_over")
        return existing, self._client

    async def _record(self, job: Job, uow: UnitOfWork, decide: Callable[[ProviderEnrollment], Change]) -> None:
        id = _enrollment_id(job)
        await repository.lock_enrollment(uow.db, UUID(job.payload["student_id"]), job.payload["program_slug"])
        existing = await repository.read_provider_enrollment(uow.db, id)
        enrollment = await repository.read_enrollment(uow.db, id)
        if existing is None or enrollment is None or existing.generation != job.payload["generation"]:
            log.error("outcome of an outdated step ignored", job=str(job.id), enrollment=str(id))
            return
        await apply_change(uow, enrollment, existing, decide(existing), attempts=job.attempt)


class Enroll(_StepHandler):
    async def perform(self, job: Job) -> RemoteEnrollment | Canceled:
        started = await self._start(job, unless=DesiredState.WITHDRAWN)
        if isinstance(started, Canceled):
            return started
        _, client = started
        payload = job.payload
        student_ref, program = payload["student_id"], payload["program_slug"]
        erased = payload.get("erased", False)
        repeated = erased or payload["generation"] > 1
        if repeated and (found := await client.find(student_ref=student_ref, program=program)):
            return found[0]  # an earlier step that was given up, or an attempt before the erasure, had taken effect
        return await client.enroll(
            key=f"{job.key}/erased" if erased else job.key,
            student_ref=student_ref,
            program=program,
            course_ids=payload["course_ids"],
            name=payload["name"],
            email=payload["email"],
        )

    async def record(self, job: Job, result: RemoteEnrollment | Canceled, uow: UnitOfWork) -> None:
        def decide(existing: ProviderEnrollment) -> Change:
            if isinstance(result, Canceled):
                return domain.canceled(existing=existing, mode=self._mode)
            links = tuple(CourseLink(title=link.title, url=link.url) for link in result.links)
            return domain.enrolled(existing=existing, milady_enrollment_id=result.id, links=links, mode=self._mode)

        await self._record(job, uow, decide)


@dataclass(frozen=True)
class Withdrawn:
    """`milady_enrollment_id`: the enrollment that was ended; None if there was none."""

    milady_enrollment_id: str | None


class Withdraw(_StepHandler):
    async def perform(self, job: Job) -> Withdrawn | Canceled:
        started = await self._start(job, unless=DesiredState.ENROLLED)
        if isinstance(started, Canceled):
            return started
        existing, client = started
        if existing.milady_enrollment_id is not None:
            await client.withdraw(existing.milady_enrollment_id, key=job.key)
            return Withdrawn(existing.milady_enrollment_id)
        found = await client.find(student_ref=job.payload["student_id"], program=job.payload["program_slug"])
        for number, enrollment in enumerate(found):
            await client.withdraw(enrollment.id, key=f"{job.key}/{number}")
        return Withdrawn(found[0].id if found else None)

    async def record(self, job: Job, result: Withdrawn | Canceled, uow: UnitOfWork) -> None:
        def decide(existing: ProviderEnrollment) -> Change:
            if isinstance(result, Canceled):
                return domain.canceled(existing=existing, mode=self._mode)
            ended = result.milady_enrollment_id
            return domain.withdrawn(existing=existing, milady_enrollment_id=ended, mode=self._mode)

        await self._record(job, uow, decide)


class Adopt:
    """A program has become Milady's, or active again: enrolls the students who have paid for it already."""

    def __init__(self, mode: Mode, backoff: Backoff) -> None:
        self._mode = mode
        self.backoff = backoff

    async def perform(self, job: Job) -> None:
        """Sends nothing to the provider; `record` does all of the work in one transaction."""

    async def record(self, job: Job, result: None, uow: UnitOfWork) -> None:
        slug = job.payload["program_slug"]
        await repository.lock_program(uow.db, slug)
        uow = replace(uow, cause=None)  # the events belong to the payments of the enrollments
        for id, student_id in await repository.stale_enrollments(uow.db, slug):
            await repository.lock_enrollment(uow.db, student_id, slug)
            if (enrollment := await repository.read_enrollment(uow.db, id)) is not None:
                await reconcile(uow, enrollment, self._mode)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        """The job stays in the table as failed; saving the program again enqueues another one."""


def handlers(
    database: Database, client: MiladyClient | None, mode: Mode, backoff: Backoff
) -> Mapping[str, JobHandler[Any]]:
    return {
        ENROLL: Enroll(database, client, mode, backoff),
        WITHDRAW: Withdraw(database, client, mode, backoff),
        repository.ADOPT: Adopt(mode, backoff),
    }


def _enrollment_id(job: Job) -> UUID:
    return enrollment_uuid(UUID(job.payload["student_id"]), job.payload["program_slug"])
