"""What the relay does about places: enrolls and withdraws at Milady, and finds the enrollments of a new program of theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog

from contracts.milady_integration import CourseLink
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.jobs.jobs import Job, JobHandler
from kit.runtime.backoff import Backoff
from kit.runtime.failures import Permanent
from milady_integration import db, domain
from milady_integration.domain import Change, Mode, Place, Wish
from milady_integration.following import ENROLL, WITHDRAW, carry_out, follow
from milady_integration.milady_client import MiladyClient, Refused, RemoteEnrollment

log = structlog.get_logger(__name__)

PATIENCE = timedelta(days=7)


def backoff_of(longest: timedelta) -> Backoff:
    """Milady away for hours heals by itself, `longest` after it is back; given up only when PATIENCE is over."""
    return Backoff(first=min(timedelta(seconds=2), longest), longest=longest, attempts=int(PATIENCE / longest / 0.75))


class Overtaken:
    """Nothing was asked of Milady: the wish has turned before the first attempt, or there is no API to ask."""


class _Step:
    """What both steps share: which place it is about, and how its outcome is written down."""

    def __init__(self, database: Database, client: MiladyClient | None, mode: Mode, backoff: Backoff) -> None:
        self._database = database
        self._client = client
        self._mode = mode
        self.backoff = backoff

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        code = error.code if isinstance(error, Refused) else "unavailable"
        await self._settle(job, uow, lambda place: domain.refused(place=place, code=code, mode=self._mode))

    async def _begin(self, job: Job, turned: Wish) -> tuple[Place, MiladyClient] | Overtaken:
        """The place and somebody to ask, or a reason not to ask.

        Only a first attempt may be left out: an earlier one may have reached Milady, whose answer under the same key
        is the one way to be sure; the next step then undoes it.
        """
        async with self._database.transaction() as connection:
            known = await db.read_place(connection, _enrollment_id(job))
        if known is None:
            raise Permanent("a step without a place")
        if job.attempt == 1 and (known[0].wish is turned or self._client is None):
            return Overtaken()
        if self._client is None:
            raise Refused("handed_over")
        return known[0], self._client

    async def _settle(self, job: Job, uow: UnitOfWork, decide: Callable[[Place], Change]) -> None:
        id = _enrollment_id(job)
        await db.lock_enrollment(uow.db, id)
        known, enrollment = await db.read_place(uow.db, id), await db.read_enrollment(uow.db, id)
        if known is None or enrollment is None or known[0].generation != job.payload["generation"]:
            log.error("a step that is not the last one", job=str(job.id), enrollment=str(id))
            return
        change = decide(known[0])
        await carry_out(uow, enrollment, known, change, attempts=job.attempt)


class Enroll(_Step):
    async def perform(self, job: Job) -> RemoteEnrollment | Overtaken:
        begun = await self._begin(job, turned=Wish.WITHDRAWN)
        if isinstance(begun, Overtaken):
            return begun
        _, client = begun
        asked = job.payload
        who = {"student_ref": asked["student_id"], "program": asked["program_slug"]}
        if asked["generation"] > 1 and (there := await client.find(**who)):
            return there[0]  # an earlier step that was given up has acted after all
        return await client.enroll(
            key=job.key, course_ids=asked["course_ids"], name=asked["name"], email=asked["email"], **who
        )

    async def record(self, job: Job, result: RemoteEnrollment | Overtaken, uow: UnitOfWork) -> None:
        def decide(place: Place) -> Change:
            if isinstance(result, Overtaken):
                return domain.overtaken(place=place, mode=self._mode)
            links = tuple(CourseLink(title=link.title, url=link.url) for link in result.links)
            return domain.enrolled(place=place, milady_enrollment_id=result.id, links=links, mode=self._mode)

        await self._settle(job, uow, decide)


@dataclass(frozen=True)
class Withdrawn:
    """`milady_enrollment_id`: what was ended; None when there was nothing to end."""

    milady_enrollment_id: str | None


class Withdraw(_Step):
    async def perform(self, job: Job) -> Withdrawn | Overtaken:
        begun = await self._begin(job, turned=Wish.ENROLLED)
        if isinstance(begun, Overtaken):
            return begun
        place, client = begun
        if place.milady_enrollment_id is not None:
            await client.withdraw(place.milady_enrollment_id, key=job.key)
            return Withdrawn(place.milady_enrollment_id)
        asked = job.payload
        there = await client.find(student_ref=asked["student_id"], program=asked["program_slug"])
        for number, enrollment in enumerate(there):
            await client.withdraw(enrollment.id, key=f"{job.key}/{number}")
        return Withdrawn(there[0].id if there else None)

    async def record(self, job: Job, result: Withdrawn | Overtaken, uow: UnitOfWork) -> None:
        def decide(place: Place) -> Change:
            if isinstance(result, Overtaken):
                return domain.overtaken(place=place, mode=self._mode)
            return domain.withdrawn(place=place, milady_enrollment_id=result.milady_enrollment_id, mode=self._mode)

        await self._settle(job, uow, decide)


class Adopt:
    """A program has become Milady's (or active again): those who have paid for it are served now."""

    def __init__(self, mode: Mode, backoff: Backoff) -> None:
        self._mode = mode
        self.backoff = backoff

    async def perform(self, job: Job) -> None:
        """Nothing outside."""

    async def record(self, job: Job, result: None, uow: UnitOfWork) -> None:
        slug = job.payload["program_slug"]
        await db.lock_program(uow.db, slug, alone=True)
        for id in await db.enrollments_behind(uow.db, slug):
            await db.lock_enrollment(uow.db, id)
            if (enrollment := await db.read_enrollment(uow.db, id)) is not None:
                await follow(
                    UnitOfWork(db=uow.db, source=uow.source, now=uow.now, cause=enrollment.cause),
                    enrollment,
                    self._mode,
                )

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        """Stays in the jobs as failed; saving the program again begins anew."""


def handlers(
    database: Database, client: MiladyClient | None, mode: Mode, backoff: Backoff
) -> Mapping[str, JobHandler[Any]]:
    return {
        ENROLL: Enroll(database, client, mode, backoff),
        WITHDRAW: Withdraw(database, client, mode, backoff),
        db.ADOPT: Adopt(mode, backoff),
    }


def _enrollment_id(job: Job) -> UUID:
    return domain.enrollment_id(UUID(job.payload["student_id"]), job.payload["program_slug"])
