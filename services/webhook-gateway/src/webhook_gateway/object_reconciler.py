"""Compares Stripe's objects with what was published about them, also those that are older than the events that Stripe
lists.

An object whose event is missing gets one, built from the object, in the journal (`stripe_objects`). What differs is
recorded and published, and nothing else is changed (`differences`).

Webhooks may be under way while objects are read. So what seems to be missing or different is looked at a second time:
after the grace period, after the comparison of the events, and, if it differs, with the object read again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter as CountOf
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog
from prometheus_client import Counter
from sqlalchemy import select

from contracts.reconciliation import ReconciliationCompleted
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http.problems import Problem
from kit.runtime.failures import describe
from webhook_gateway.comparison import Comparison, compare, keys
from webhook_gateway.differences import Differences
from webhook_gateway.event import Origin, fetched_event
from webhook_gateway.fetcher import Fetcher, StripeRejected
from webhook_gateway.fields import JsonObject, object_id, text, timestamp
from webhook_gateway.journal import EventConflict, Journal
from webhook_gateway.journal_objects import JournalObjects
from webhook_gateway.object_comparison import Cursor, ObjectComparisons, Period
from webhook_gateway.reconciler import POLL_SECONDS, repeat_until
from webhook_gateway.stripe_objects import LISTINGS, SOURCE_KINDS, ObjectKind, Rendering
from webhook_gateway.tables import journal_entries
from webhook_gateway.topology import SERVICE

log = structlog.get_logger(__name__)

HELD = 500
"""Objects in memory that are to be looked at again."""
RETRY = timedelta(seconds=60)

OBJECTS = Counter(
    "bursar_stripe_objects_total",
    "Objects at Stripe of which the journal had no event, by outcome: restored, refused",
    ["outcome"],
)

Thing = tuple[ObjectKind, JsonObject]


@dataclass
class ComparedObjects:
    """What a comparison has found. `restored`: events that were built from objects. `differing`: kind and id of each
    object that differs, also of those that did so before."""

    objects: CountOf[ObjectKind] = field(default_factory=CountOf)
    restored: CountOf[ObjectKind] = field(default_factory=CountOf)
    differing: set[tuple[ObjectKind, str]] = field(default_factory=set)
    refused: int = 0

    def __str__(self) -> str:
        differing = CountOf(kind for kind, _ in self.differing)
        kinds = [
            f"{kind}: {self.objects[kind]} compared, {self.restored[kind]} restored, {differing[kind]} differing"
            for kind in ObjectKind
        ]
        return "\n".join((*kinds, f"objects refused: {self.refused}"))


@dataclass
class _Run:
    """A comparison in progress. `until`: what is read of Stripe's lists; None for all. `stored`: whether it can be
    continued by another process. `held`: what is looked at again; `held_at`: since when, by the monotonic clock."""

    period: Period
    until: datetime | None
    stored: bool
    cursors: dict[ObjectKind, Cursor] = field(default_factory=dict)
    result: ComparedObjects = field(default_factory=ComparedObjects)
    held: list[Thing] = field(default_factory=list)
    held_at: float = 0.0

    def cursor(self, kind: ObjectKind) -> Cursor:
        return self.cursors.get(kind, Cursor())


class ObjectReconciler:
    def __init__(
        self,
        database: Database,
        fetcher: Fetcher,
        journal: Journal,
        *,
        origin: Origin,
        api_version: str,
        restore_events: Callable[[], Awaitable[object]],
        interval: timedelta = timedelta(hours=6),
        grace: timedelta = timedelta(minutes=2),
        lookback: timedelta = timedelta(days=35),
        held: int = HELD,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`journal`: for fetched events. `restore_events`: journals the events that Stripe lists and did not deliver.
        `lookback`: how old the objects are that are compared in the background."""
        self._database = database
        self._fetcher = fetcher
        self._journal = journal
        self._origin = origin
        self._api_version = api_version
        self._restore_events = restore_events
        self._interval = interval
        self._grace = grace
        self._lookback = lookback
        self._held = held
        self._clock = clock
        self._index = JournalObjects(database)
        self._comparisons = ObjectComparisons(database)
        self._differences = Differences(database)
        for outcome in ("restored", "refused"):
            OBJECTS.labels(outcome)

    async def run(self, stop: asyncio.Event) -> None:
        """Compares at intervals until `stop` is set. A comparison in progress is continued by the next one."""
        if not self._fetcher.configured:
            await stop.wait()
            return
        seconds = min(self._interval.total_seconds(), POLL_SECONDS)
        await repeat_until(stop, self.compare_due, name="comparison of objects", seconds=seconds)

    async def compare_due(self) -> bool:
        """Makes the next comparison, or continues one that was interrupted, if it is due and no other reconciler makes
        it. Always False: there is nothing more to do at once."""
        await self._differences.measure()
        period = await self._comparisons.begin(lookback=self._lookback, through=self._clock() - self._grace)
        if period is None:
            return False
        # a test clock may be ahead of ours: its objects are compared as well
        until = period.through if self._origin.livemode else None
        run = _Run(period, until, stored=True, cursors=dict(period.cursors))
        for kind, cursor in period.cursors.items():
            run.result.objects[kind], run.result.restored[kind] = cursor.objects, cursor.restored
        try:
            await self._compare(run)
        except BaseException:
            await self._comparisons.interrupt(next_in=min(self._interval, RETRY))
            raise
        await self._comparisons.complete(next_in=self._interval)
        return False

    async def compare_all(self, *, since: datetime, until: datetime | None = None) -> ComparedObjects:
        """The same for an operator: all objects that were created in the period, but those that are too young."""
        old = self._clock() - self._grace
        period = Period(since=since, through=max(since, min(until or old, old)))
        return await self._compare(_Run(period, until, stored=False))

    async def _compare(self, run: _Run) -> ComparedObjects:
        await self._index.refresh()
        for kind in ObjectKind:
            if not run.cursor(kind).completed:
                await self._compare_kind(run, kind)
        await self._settle(run)
        await self._examine(run, await self._read_open(run))
        await self._settle(run)
        await self._save(run)
        await self._publish_completed(run)
        return run.result

    async def _compare_kind(self, run: _Run, kind: ObjectKind) -> None:
        async for page in self._pages(run, kind):
            things = [(kind, thing) for thing in page if not self._is_young(thing)]
            await self._examine(run, things)
            run.result.objects[kind] += len(things)
            if len(run.held) >= self._held:
                await self._settle(run)
            if page:
                run.cursors[kind] = Cursor(last_id=object_id(page[-1], "id"))
            await self._save(run)
        run.cursors[kind] = replace(run.cursor(kind), completed=True)
        await self._save(run)

    async def _pages(self, run: _Run, kind: ObjectKind) -> AsyncIterator[Sequence[JsonObject]]:
        """Newest first. If the object of the cursor is gone, from the beginning."""
        listing, after = LISTINGS[kind], run.cursor(kind).last_id
        while True:
            pages = self._fetcher.object_pages(
                listing.path,
                since=run.period.since,
                until=run.until,
                expand=listing.expand,
                params=listing.params,
                after=after,
            )
            try:
                async for page in pages:
                    yield page
                return
            except StripeRejected:
                if after is None:
                    raise
                after = None

    def _is_young(self, thing: JsonObject) -> bool:
        """Whether its webhooks may still be under way. One of a test clock that is ahead is not waited for."""
        now, created = self._clock(), timestamp(thing, "created") or datetime.min.replace(tzinfo=UTC)
        return now - self._grace < created <= now + self._grace

    async def _examine(self, run: _Run, things: Sequence[Thing]) -> None:
        """Compares; what has to be looked at again is held."""
        compared = await self._compare_things(things)
        recorded = await self._differences.are_recorded(compared)
        unchanged = [each for each in compared if not each.missing and recorded[each.object_id]]
        differing = [each for each in unchanged if each.differences]
        if differing:
            await self._differences.record(differing, now=self._clock())
            run.result.differing.update((each.kind, each.object_id) for each in differing)
        for thing, each in zip(things, compared, strict=True):
            if each.missing or not recorded[each.object_id]:
                run.held.append(thing)
                run.held_at = time.monotonic()

    async def _settle(self, run: _Run) -> None:
        """Looks again at what is held: journals what is missing, and records what differs."""
        if not run.held:
            return
        await asyncio.sleep(max(0.0, run.held_at + self._grace.total_seconds() - time.monotonic()))
        await self._restore_events()
        held, run.held = run.held, []
        for kind in ObjectKind:
            things = [thing for thing in held if thing[0] is kind]
            if things:
                await self._settle_kind(run, kind, things)
        if run.result.restored.total():
            log.warning(
                "objects had no event and are restored",
                **{str(kind): count for kind, count in run.result.restored.items() if count},
            )

    async def _settle_kind(self, run: _Run, kind: ObjectKind, things: Sequence[Thing]) -> None:
        await self._index.refresh()
        await self._restore_sources(run, kind, things)
        await self._restore_missing(run, await self._compare_things(things))
        await self._index.refresh()
        compared = await self._compare_things(things)
        differing = {each.object_id for each in compared if each.differences}
        if differing:
            again = [await self._read_again(thing) for thing in things if object_id(thing[1], "id") in differing]
            read_again = {each.object_id: each for each in await self._compare_things(again)}
            compared = [read_again.get(each.object_id, each) for each in compared]
        await self._differences.record(compared, now=self._clock())
        run.result.differing.update((each.kind, each.object_id) for each in compared if each.differences)

    async def _restore_sources(self, run: _Run, kind: ObjectKind, things: Sequence[Thing]) -> None:
        """What the object depends on and may be missing, too: the refunds of a charge, and what moved money."""
        found: list[Thing] = []
        for _, thing in things:
            if kind is ObjectKind.CHARGE and (charge := object_id(thing, "id")):
                pages = self._fetcher.object_pages(LISTINGS[ObjectKind.REFUND].path, params={"charge": charge})
                found += [(ObjectKind.REFUND, refund) async for page in pages for refund in page]
            source_kind = SOURCE_KINDS.get(text(thing, "type") or "")
            if kind is ObjectKind.BALANCE_TRANSACTION and source_kind and (source := object_id(thing, "source")):
                found.append(await self._read_again((source_kind, {"id": source})))
        await self._restore_missing(run, await self._compare_things(found))
        await self._index.refresh()

    async def _read_again(self, thing: Thing) -> Thing:
        """The object as it is now; as it was, if Stripe has none any more."""
        kind, before = thing
        listing = LISTINGS[kind]
        try:
            return kind, await self._fetcher.read(f"{listing.path}/{before.get('id')}", expand=listing.expand)
        except StripeRejected as error:
            log.warning(
                "object not found at Stripe", object_kind=kind, object_id=before.get("id"), error=describe(error)
            )
            return thing

    async def _read_open(self, run: _Run) -> Sequence[Thing]:
        """The objects with an open difference that were not compared: they are older than the period."""
        older = [each for each in await self._differences.open_objects() if each not in run.result.differing]
        return [await self._read_again((kind, {"id": id})) for kind, id in older]

    async def _compare_things(self, things: Sequence[Thing]) -> list[Comparison]:
        origin = self._origin
        rendering = Rendering(
            api_version=self._api_version, livemode=origin.livemode, account=origin.account, now=self._clock()
        )
        journaled = await self._index.find({key for kind, thing in things for key in keys(kind, thing)})
        return [compare(kind, thing, journaled, rendering) for kind, thing in things]

    async def _restore_missing(self, run: _Run, compared: Iterable[Comparison]) -> None:
        missing = [(each.kind, content) for each in compared for content in each.missing]
        existing = await self._existing([str(content["id"]) for _, content in missing])
        for kind, content in missing:
            if content["id"] not in existing:
                await self._restore(run, kind, content)

    async def _restore(self, run: _Run, kind: ObjectKind, content: JsonObject) -> None:
        try:
            event = fetched_event(content)
            self._origin.check(event)
            is_new = await self._journal.write(event)
        except Problem as problem:
            log.error("object refused", event_id=content["id"], code=problem.code)
            OBJECTS.labels("refused").inc()
            run.result.refused += 1
        except EventConflict:
            return  # another reconciler has just written it
        else:
            run.result.restored[kind] += is_new
            OBJECTS.labels("restored").inc(is_new)
            log.info("event restored from object", event_id=event.id, type=event.type)

    async def _existing(self, event_ids: Sequence[str]) -> set[str]:
        column = journal_entries.c.event_id
        async with self._database.transaction() as db:
            return set(await db.scalars(select(column).where(column.in_(event_ids)))) if event_ids else set()

    async def _save(self, run: _Run) -> None:
        """Only when nothing is held: what is held would be left out by a process that continues after the cursors."""
        if run.stored and not run.held:
            counts = run.result
            cursors = {
                kind: replace(cursor, objects=counts.objects[kind], restored=counts.restored[kind])
                for kind, cursor in run.cursors.items()
            }
            await self._comparisons.save(cursors)

    async def _publish_completed(self, run: _Run) -> None:
        now = self._clock()
        event = ReconciliationCompleted(
            since=run.period.since,
            through=run.period.through,
            objects=run.result.objects.total(),
            restored=run.result.restored.total(),
            differences=await self._differences.measure(),
        )
        id = f"objects/{run.period.since.isoformat()}/{now.isoformat()}/{event.type}"
        async with self._database.transaction() as db:
            uow = UnitOfWork(db=db, source=SERVICE, now=now)
            await uow.publish(event, id=id, subject="reconciliation")
