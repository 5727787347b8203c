"""Publishes the journal.

A row leaves `journal_due` only after the broker has confirmed every event that it translates to. A row that cannot be
published is put off on its own: its neighbors are published and leave.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from datetime import timedelta

import structlog
from prometheus_client import Gauge
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import Database
from kit.http.problems import Problem
from kit.messaging.broker import BrokerDown, Publisher
from kit.messaging.outbox import OutgoingMessage, log_message, to_message
from kit.messaging.relay import keep_publishing
from kit.runtime import metrics
from kit.runtime.backoff import Backoff
from kit.runtime.failures import Permanent, describe
from kit.runtime.outages import Outage
from kit.runtime.sweeps import repeat
from webhook_gateway import due, erasures, object_comparison
from webhook_gateway.due import Deferred, DueEvent, Published
from webhook_gateway.event import decode
from webhook_gateway.fingerprint import fingerprint
from webhook_gateway.redaction import redacted
from webhook_gateway.signature import Signature
from webhook_gateway.tables import Lane, Source
from webhook_gateway.translate import translate

log = structlog.get_logger(__name__)

CHANNEL = "journal"
"""NOTIFY channel: rows were added to `journal_due`."""
BATCH = 200
RETRY = Backoff(first=timedelta(seconds=0.5), longest=timedelta(minutes=10))
REPLAY_SECONDS = 0.1
"""Between two batches of the replay lane."""
IDLE_SECONDS = 1.0
MEASURE_SECONDS = 6.0
MAINTENANCE_SECONDS = 3600.0

COMPARISON_AGE = Gauge(
    "bursar_stripe_comparison_age_seconds",
    "For how long no comparison with Stripe has been completed, also if there is no reconciler",
    ["of"],
)
DEFERRED = Gauge("bursar_journal_deferred", "Events that could not be published; each is tried again, see the log")


class UnverifiedEvent(Permanent):
    """The journaled signature is of none of the known secrets."""


class MissingEvent(Permanent):
    """The event that is due is not in the journal."""


class JournalRelay:
    """Publishes due journal rows. Several can run side by side: each takes rows that no other one has locked."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        *,
        secrets: Sequence[bytes],
        replays_per_second: float = 50,
        keep: timedelta = timedelta(days=7 * 366),
    ) -> None:
        """`secrets`: all that have signed an event which is still to be published. `replays_per_second`: of all relays
        together."""
        self._database = database
        self._publisher = publisher
        self._secrets = secrets
        self._replay_batch = max(1, round(replays_per_second * REPLAY_SECONDS))
        self._replay_pause = timedelta(seconds=self._replay_batch / replays_per_second)
        self._keep = keep

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set, through outages of the broker and the database."""
        await keep_publishing(self.publish_due, self._database.url, stop, channel=CHANNEL, batch=BATCH)

    async def run_replay(self, stop: asyncio.Event) -> None:
        """The same for the replay lane."""
        outage = Outage("replay")
        while not stop.is_set():
            more = False
            try:
                more = await self.replay_due()
                outage.ended()
            except Exception as error:
                outage.failed(error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), REPLAY_SECONDS if more else IDLE_SECONDS)

    async def publish_due(self) -> int:
        """Publishes one batch of live events. Returns how many were due. Raises BrokerDown if none could be
        published."""
        async with self._database.transaction() as db:
            events = await due.lock(db, Lane.LIVE, limit=BATCH)
            down = await self._publish_all(db, events)
        if down is not None:
            raise down
        return len(events)

    async def replay_due(self) -> bool:
        """Publishes a few events of the replay lane, unless a live one is due. Returns whether more may be due."""
        async with self._database.transaction() as db:
            if not await due.lock_replay(db):
                return False
            events = await due.lock(db, Lane.REPLAY, limit=self._replay_batch)
            if events:
                await due.pause_replay(db, self._replay_pause)
            down = await self._publish_all(db, events)
        if down is not None:
            raise down
        return len(events) == self._replay_batch

    async def measure(self, stop: asyncio.Event) -> None:
        """Keeps the gauges of the backlog current. They exist from the start."""
        for table in ("journal", "journal replay"):
            metrics.DUE.labels(table)
        metrics.OLDEST_DUE.labels("journal")
        await repeat(self._measure, stop, name="journal backlog", seconds=MEASURE_SECONDS)

    async def maintain(self, stop: asyncio.Event) -> None:
        """Creates and drops the journal's partitions in time."""
        await repeat(self._maintain, stop, name="journal partitions", seconds=MAINTENANCE_SECONDS)

    async def _publish_all(self, db: AsyncConnection, events: Sequence[DueEvent]) -> BrokerDown | None:
        """Returns the error if the broker is down and nothing was published."""
        if not events:
            return None
        erased = await erasures.find_erased(db, events)
        outcomes = await asyncio.gather(*(self._publish(event, erased=event.event_id in erased) for event in events))
        published = [outcome for outcome in outcomes if isinstance(outcome, Published)]
        await _erase(db, events, {outcome.event_id for outcome in published} & erased)
        await due.complete(db, published)
        await due.defer(db, [outcome for outcome in outcomes if isinstance(outcome, Deferred)])
        down = next((outcome for outcome in outcomes if isinstance(outcome, BrokerDown)), None)
        return None if published else down

    async def _publish(self, event: DueEvent, *, erased: bool) -> Published | Deferred | BrokerDown:
        """Any error of an event is its own outcome: an exception would roll back its neighbors."""
        try:
            messages = _messages(event, self._secrets, erased=erased)
            for message in messages:
                await self._publisher.publish(message)
        except Exception as error:
            metrics.PUBLISH_FAILURES.labels(type(error).__name__).inc()
            if isinstance(error, BrokerDown):
                return error
            attempts = event.attempts + 1
            log.error("event not published", event_id=event.event_id, attempts=attempts, error=describe(error))
            return Deferred(event.event_id, attempts=attempts, delay=RETRY.delay(attempts), error=describe(error))
        for message in messages:
            metrics.PUBLISHED.labels(message.routing_key).inc()
            log_message(message)
        return Published(event.event_id, event_count=len(messages), translation=fingerprint(messages))

    async def _measure(self) -> bool:
        async with self._database.transaction() as db:
            backlog = await due.measure(db)
            ages = await object_comparison.ages(db)
        for of, seconds in ages.items():
            COMPARISON_AGE.labels(of).set(seconds)
        metrics.DUE.labels("journal").set(backlog.live)
        metrics.DUE.labels("journal replay").set(backlog.replay)
        DEFERRED.set(backlog.deferred)
        metrics.OLDEST_DUE.labels("journal").set(backlog.oldest_seconds)
        return False

    async def _maintain(self) -> bool:
        async with self._database.transaction() as db:
            await due.maintain_partitions(db, keep=self._keep)
        return False


async def _erase(db: AsyncConnection, events: Sequence[DueEvent], ids: Collection[str]) -> None:
    """In the journal too: the signatures of these events were verified."""
    await erasures.rewrite(
        db,
        [
            (event.event_id, event.body, event.received_at)
            for event in events
            if event.event_id in ids and event.body is not None and event.received_at is not None
        ],
    )


def _messages(event: DueEvent, secrets: Sequence[bytes], *, erased: bool) -> list[OutgoingMessage]:
    """What is published for the event; `erased`: without personal data. Raises UnverifiedEvent or MissingEvent."""
    if event.body is None or event.received_at is None:
        raise MissingEvent("it is due, but not in the journal")
    if event.source not in (Source.FETCHED, Source.PREVIOUS, Source.ERASED):
        try:
            Signature.parse(event.signature).verify(event.body, secrets)
        except Problem as problem:
            raise UnverifiedEvent(problem.code) from None
    content = decode(event.body)
    envelopes = translate(redacted(content) if erased else content, received_at=event.received_at)
    return [to_message(envelope) for envelope in envelopes]
