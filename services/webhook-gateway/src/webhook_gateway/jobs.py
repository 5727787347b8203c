"""The job that the relay runs: fetches the events of an object from Stripe, and journals them as if delivered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter

from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http.problems import Problem
from kit.jobs.jobs import Job
from kit.runtime.backoff import Backoff
from kit.runtime.failures import Permanent, describe
from webhook_gateway.event import Origin, fetched_event
from webhook_gateway.fetched_object import FetchedObject, ListedEvent, belonging_to, listed_event
from webhook_gateway.fetcher import RETENTION, Fetcher
from webhook_gateway.fields import JsonObject, timestamp
from webhook_gateway.journal import EventConflict, Journal
from webhook_gateway.replay import republish

log = structlog.get_logger(__name__)

FETCH = "fetch_events"
FETCHED = Counter(
    "bursar_stripe_fetches_total",
    "Requests to fetch the events of a Stripe object by outcome: fetched, missing (Stripe does not list them), failed",
    ["outcome"],
)


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """`new`: how many were not in the journal. `old`: the ids of those that were."""

    new: int
    old: tuple[str, ...]
    missing: bool
    """Whether there is none, or the object is paid and none of them reports money."""


class FetchEvents:
    """The payload names the `object`: cs_…, pi_…, in_… or sub_…"""

    backoff = Backoff(first=timedelta(seconds=5), longest=timedelta(minutes=30), attempts=24)

    def __init__(
        self, fetcher: Fetcher, journal: Journal, origin: Origin, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._fetcher = fetcher
        self._journal = journal
        self._origin = origin
        self._clock = clock

    async def perform(self, job: Job) -> Fetched:
        wanted = FetchedObject.parse(job.payload["object"])
        if wanted is None:
            raise Permanent("not an object whose events can be fetched")
        thing = await self._read(wanted)
        listed = await self._list(wanted, created=timestamp(thing, "created"))
        new, old = 0, []
        for event in listed:
            try:
                if await self._journal_event(event.id):
                    new += 1
                else:
                    old.append(event.id)
            except EventConflict:
                continue  # logged and counted; the first one stays
        missing = not any(event.received for event in listed) if wanted.is_paid(thing) else not listed
        return Fetched(new=new, old=tuple(old), missing=missing)

    async def _read(self, wanted: FetchedObject) -> JsonObject:
        thing = await self._fetcher.read(wanted.path)
        if thing.get("livemode") is not self._origin.livemode:
            raise Permanent("wrong_mode: the object is not of the mode that STRIPE_LIVEMODE says")
        return thing

    async def _list(self, wanted: FetchedObject, *, created: datetime | None) -> list[ListedEvent]:
        """The events of the object that Stripe lists. Only their ids are kept: the list is that of the account."""
        now = self._clock()
        since = max(created or now - RETENTION, now - RETENTION)
        found = [
            listed
            async for event in self._fetcher.events(types=wanted.event_types, since=since)
            if (listed := listed_event(event, now=now)) is not None
        ]
        return belonging_to(wanted, found)

    async def _journal_event(self, event_id: str) -> bool:
        """Returns whether the event is new."""
        content = await self._fetcher.event(event_id)
        try:
            event = fetched_event(content)
            self._origin.check(event)
        except Problem as problem:
            raise Permanent(f"{problem.code}: {event_id}") from None
        return await self._journal.write(event)

    async def record(self, job: Job, result: Fetched, uow: UnitOfWork) -> None:
        """Events that were journaled before are published again: they did not arrive, or were not processed."""
        await republish(uow.db, result.old)
        name, counts = job.payload["object"], {"new": result.new, "old": len(result.old)}
        if result.missing:
            FETCHED.labels("missing").inc()
            log.error("stripe lists no event for this payment", object=name, **counts)
        else:
            FETCHED.labels("fetched").inc()
            log.info("events fetched", object=name, **counts)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        FETCHED.labels("failed").inc()
        log.error("events not fetched", object=job.payload["object"], error=describe(error))
