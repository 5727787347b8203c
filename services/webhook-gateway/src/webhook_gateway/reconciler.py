"""Compares the journal with the events that Stripe lists, and journals those that are missing.

Stripe lists events for 30 days, newest first (https://docs.stripe.com/api/events/list). All pages since the last
comparison are read, and of what is missing the oldest events are journaled first. How far the comparison has come is
kept in the database, by Stripe's clock: the time of the newest event that was listed. Each comparison begins somewhat
earlier, because Stripe may list an event late. So an event may be listed many times; the journal takes it once.

Several reconcilers can run: each comparison is begun by one of them. Two at once would end in the same journal.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter as CountOf
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy import func, select, update

from contracts.audit import Act, Actor
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http.problems import Problem
from kit.messaging import audit
from kit.runtime.failures import describe
from kit.runtime.sweeps import repeat
from webhook_gateway.endpoint import EndpointProblem, problems_of
from webhook_gateway.event import Origin, StripeEvent, fetched_event
from webhook_gateway.fetcher import MAX_TYPES, RETENTION, Fetcher, chunks
from webhook_gateway.fields import JsonObject, timestamp
from webhook_gateway.journal import EventConflict, Journal
from webhook_gateway.tables import journal_entries, journal_reconciliation
from webhook_gateway.topology import SERVICE
from webhook_gateway.translate import TRANSLATED
from webhook_gateway.webhook import PATHS

log = structlog.get_logger(__name__)

OVERLAP = timedelta(minutes=10)
"""How late Stripe may list an event."""
LEASE = timedelta(minutes=15)
"""After which another reconciler may begin a comparison that has not ended."""
POLL_SECONDS = 10
HELD = 1000
"""Missing events in memory at once, for each 20 types. If there are more, the oldest are journaled, and the comparison
is repeated."""

RECONCILED = Counter(
    "bursar_stripe_reconciled_total",
    "Events that Stripe lists and the journal did not have, by outcome: restored, conflict, refused",
    ["outcome"],
)
COMPLETED = Gauge("bursar_stripe_reconciled_timestamp_seconds", "When the last comparison with Stripe was completed")
ENDPOINT = Gauge("bursar_stripe_endpoint_problem", "1: the webhook endpoint at Stripe has this problem", ["problem"])


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    """What one comparison has found. `until`: how far it has come, None if nothing was listed. `more`: whether more
    events are missing than were journaled."""

    listed: int = 0
    restored: int = 0
    conflicts: int = 0
    refused: int = 0
    until: datetime | None = None
    more: bool = False

    def __str__(self) -> str:
        counts = f"events listed: {self.listed}, restored: {self.restored}"
        return counts + f", conflicts: {self.conflicts}, refused: {self.refused}"


class Reconciler:
    def __init__(
        self,
        database: Database,
        fetcher: Fetcher,
        journal: Journal,
        *,
        origin: Origin,
        api_version: str,
        webhook_url: str = "",
        interval: timedelta = timedelta(minutes=5),
        grace: timedelta = timedelta(minutes=2),
        held: int = HELD,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`journal`: for fetched events. `grace`: how long an event may take to be delivered."""
        self._database = database
        self._fetcher = fetcher
        self._journal = journal
        self._origin = origin
        self._api_version = api_version
        self._webhook_url = webhook_url
        self._interval = interval
        self._grace = grace
        self._held = held
        self._clock = clock
        self._reported: frozenset[EndpointProblem] = frozenset()
        for problem in EndpointProblem:
            ENDPOINT.labels(problem)
        for outcome in ("restored", "conflict", "refused"):
            RECONCILED.labels(outcome)

    async def run(self, stop: asyncio.Event) -> None:
        """Compares at intervals until `stop` is set. A comparison in progress is given up then: the next one repeats
        it."""
        if not self._fetcher.configured:
            log.error("STRIPE_API_KEY is not set: events that are not delivered are lost")
            await stop.wait()
            return
        seconds = min(self._interval.total_seconds(), POLL_SECONDS)
        await repeat_until(stop, self.reconcile_due, name="reconciliation", seconds=seconds)

    async def reconcile_due(self) -> bool:
        """Makes the next comparison if it is due and no other reconciler makes it. Returns whether more events are
        missing."""
        since = await self._begin()
        if since is None:
            return False
        try:
            await self.check_endpoint()
            result = await self.restore(since=since - self._grace - OVERLAP, grace=self._grace)
        except BaseException:
            await self._end(next_in=min(self._interval, timedelta(seconds=POLL_SECONDS)))
            raise
        until = min(result.until or since, self._clock())  # a test clock may be ahead of ours
        await self._end(until, next_in=timedelta() if result.more else self._interval)
        return result.more

    async def restore(
        self, *, since: datetime, until: datetime | None = None, grace: timedelta = timedelta()
    ) -> Reconciled:
        """Journals the events of a period that the journal does not have, oldest first."""
        now = self._clock()
        found = Reconciled()
        newest, incomplete = list[datetime](), list[datetime]()
        missing: list[JsonObject] = []
        for types in chunks(sorted(TRANSLATED), MAX_TYPES):
            held: deque[JsonObject] = deque(maxlen=self._held)  # listed newest first: the oldest stay
            more = False
            async for page in self._fetcher.event_pages(types=types, since=since, until=until):
                newest += map(_created, page[:1])
                for event in await self._missing(page):
                    if now - grace < _created(event) <= now + grace:
                        continue  # on its way; one of a test clock that is ahead is not waited for
                    more = more or len(held) == self._held
                    held.append(event)
                found = replace(found, listed=found.listed + len(page))
            if more:
                incomplete.append(_created(held[0]))
            missing += reversed(held)
        end = min(incomplete) if incomplete else max(newest, default=None)
        found = replace(found, until=end, more=bool(incomplete))
        return await self._journal_all(sorted(missing, key=_created), found)

    async def restore_recent(self) -> Reconciled:
        """The same for what was created since the last comparison that is complete."""
        async with self._database.transaction() as db:
            since: datetime = (await db.execute(select(journal_reconciliation.c.reconciled_until))).scalar_one()
        return await self.restore(since=since - self._grace - OVERLAP, grace=self._grace)

    async def restore_all(self, *, since: datetime, until: datetime | None, actor: Actor) -> Reconciled:
        """The same for an operator, which is recorded first, until nothing is missing. Counts what was restored in
        all."""
        async with self._database.transaction() as db:
            act = Act.of("event.restored", "journal", SERVICE, after={"since": since, "until": until})
            await audit.publish(UnitOfWork(db=db, source=SERVICE, now=self._clock()), act, actor)
        result = await self.restore(since=since, until=until)
        while result.more:
            next = await self.restore(since=since, until=until)
            result = replace(next, restored=result.restored + next.restored)
        return result

    async def check_endpoint(self) -> None:
        """Compares the webhook endpoint at Stripe with what the gateway needs. Problems are logged when they change."""
        try:
            endpoints = await self._fetcher.webhook_endpoints()
        except Exception as error:
            problems = {EndpointProblem.UNREADABLE: describe(error)}
        else:
            problems = dict(problems_of(endpoints, url=self._webhook_url, paths=PATHS, api_version=self._api_version))
        for problem in EndpointProblem:
            ENDPOINT.labels(problem).set(problem in problems)
        if problems.keys() != self._reported:
            self._reported = frozenset(problems)
            if problems:
                log.error("webhook endpoint at Stripe", **{str(name): found for name, found in problems.items()})
            else:
                log.info("webhook endpoint at Stripe is right")

    async def _missing(self, page: Sequence[JsonObject]) -> list[JsonObject]:
        ids = [str(event.get("id")) for event in page]
        async with self._database.transaction() as db:
            known = set(await db.scalars(select(journal_entries.c.event_id).where(journal_entries.c.event_id.in_(ids))))
        return [event for event, id in zip(page, ids, strict=True) if id not in known]

    async def _journal_all(self, missing: Sequence[JsonObject], found: Reconciled) -> Reconciled:
        events: list[StripeEvent] = []
        refused = CountOf[str]()
        for content in missing:
            try:
                event = fetched_event(content)
                self._origin.check(event)
            except Problem as problem:
                refused[problem.code] += 1
            else:
                events.append(event)
        outcomes = await asyncio.gather(*map(self._journal.write, events), return_exceptions=True)
        conflicts = sum(isinstance(each, EventConflict) for each in outcomes)
        restored = [event for event, each in zip(events, outcomes, strict=True) if each is True]
        RECONCILED.labels("restored").inc(len(restored))
        RECONCILED.labels("conflict").inc(conflicts)
        RECONCILED.labels("refused").inc(refused.total())
        if restored:
            for event in restored:
                log.info("event restored", event_id=event.id, type=event.type)
            types = dict(CountOf(event.type for event in restored))
            log.warning("events were not delivered and are restored", events=len(restored), types=types)
        if refused:
            log.error("listed events refused", codes=dict(refused))
        for each in outcomes:
            if isinstance(each, BaseException) and not isinstance(each, EventConflict):
                raise each
        return replace(found, restored=len(restored), conflicts=conflicts, refused=refused.total())

    async def _begin(self) -> datetime | None:
        """Since when to compare; None if it is not due."""
        table = journal_reconciliation
        due = update(table).where(table.c.next_at <= func.now()).values(next_at=func.now() + LEASE)
        async with self._database.transaction() as db:
            since: datetime | None = await db.scalar(due.returning(table.c.reconciled_until))
            completed: datetime | None = await db.scalar(select(table.c.completed_at))
        if completed is not None:
            COMPLETED.set(completed.timestamp())
        if since is not None and since < self._clock() - RETENTION:
            log.error("the last comparison is too long ago: Stripe does not list all events since then", last=since)
        return since

    async def _end(self, until: datetime | None = None, *, next_in: timedelta) -> None:
        """`until` None: the comparison has failed."""
        table = journal_reconciliation
        ended = update(table).values(next_at=func.now() + next_in)
        if until is not None:
            later = func.greatest(table.c.reconciled_until, until)
            ended = ended.values(reconciled_until=later, completed_at=func.now())
        async with self._database.transaction() as db:
            await db.execute(ended)


async def repeat_until(stop: asyncio.Event, sweep: Callable[[], Awaitable[bool]], *, name: str, seconds: float) -> None:
    """Repeats a sweep until `stop` is set. One in progress is given up then."""
    running = asyncio.create_task(repeat(sweep, stop, name=name, seconds=seconds))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    stopping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def _created(event: JsonObject) -> datetime:
    return timestamp(event, "created") or datetime.min.replace(tzinfo=UTC)
