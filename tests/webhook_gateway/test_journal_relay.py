"""The relay of the journal: what it publishes, in which order, and that no row can stop the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import func, select, text, update
from tests.databases import migrated, opened
from tests.waiting import until
from tests.webhook_gateway import stripe_events as stripe
from tests.webhook_gateway.relay_steps import RelaySteps, paid, relay_steps
from tests.webhook_gateway.stripe_events import SECRET

import webhook_gateway
from contracts.audit import AuditRecorded
from kit.db.database import Database
from kit.messaging.audit import operator
from testkit.postgres_server import Database as CreatedDatabase
from testkit.postgres_server import PostgresServer
from testkit.rabbit_server import RabbitServer
from webhook_gateway import relay
from webhook_gateway.due import Backlog, measure
from webhook_gateway.object_comparison import ages
from webhook_gateway.replay import replay, republish
from webhook_gateway.tables import (
    Source,
    journal_due,
    journal_entries,
    journal_events,
    journal_replay,
    object_comparison,
)
from webhook_gateway.translate import translate

pytestmark = pytest.mark.server  # starts a server of its own

PAYMENTS = ("payment.succeeded.v1",)


@pytest.fixture(scope="module")
def created(postgres_server: PostgresServer) -> CreatedDatabase:
    return migrated(postgres_server, "gateway_relay", webhook_gateway.__file__)


@pytest.fixture
async def steps(created: CreatedDatabase, own_rabbit: RabbitServer) -> AsyncIterator[RelaySteps]:
    async with relay_steps(created.url, own_rabbit.url, *PAYMENTS) as steps:
        yield steps


async def test_an_event_is_published_once_and_recorded(steps: RelaySteps) -> None:
    event = paid()
    await steps.deliver(event)
    for _ in range(3):
        await steps.relay().publish_due()
    assert await steps.received() == [event["id"]]
    assert await steps.due() == {}
    async with steps.database.transaction() as db:
        (entry,) = (await db.execute(select(journal_entries))).all()
    assert entry.event_count == 1
    assert entry.published_at is not None


async def test_a_row_that_is_not_an_event_is_put_off_alone(steps: RelaySteps) -> None:
    """Before, it rolled back the batch: its neighbors were published again with every attempt."""
    await steps.write("evt_broken", b'{"id": ')
    good = [paid() for _ in range(5)]
    await steps.deliver(*good)
    relay = steps.relay()
    for _ in range(3):
        await relay.publish_due()
    assert sorted(await steps.received()) == sorted(event["id"] for event in good)
    due = await steps.due()
    assert due.keys() == {"evt_broken"}
    assert due["evt_broken"].attempts >= 1
    assert due["evt_broken"].last_error
    assert due["evt_broken"].available_at > datetime.now(UTC) - timedelta(seconds=1)


async def test_every_error_of_a_translation_concerns_its_event_alone(
    steps: RelaySteps, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = paid(), paid()
    failing = True

    def raising(event: Mapping[str, Any], *, received_at: datetime) -> Any:
        if failing and event["id"] == bad["id"]:
            raise KeyError("data")
        return translate(event, received_at=received_at)

    monkeypatch.setattr(relay, "translate", raising)
    await steps.deliver(bad, good)
    before = REGISTRY.get_sample_value("bursar_publish_failures_total", {"reason": "KeyError"}) or 0
    await steps.relay().publish_due()
    assert await steps.received() == [good["id"]]
    assert (await steps.due())[bad["id"]].last_error == "KeyError"
    assert REGISTRY.get_sample_value("bursar_publish_failures_total", {"reason": "KeyError"}) == before + 1

    failing = False
    await steps.retry([bad["id"]])
    await steps.relay().publish_due()
    assert await steps.received() == [bad["id"]]
    assert await steps.due() == {}


async def test_a_due_event_that_the_journal_does_not_have_is_put_off(steps: RelaySteps) -> None:
    good = paid()
    async with steps.database.transaction() as db:
        await db.execute(journal_due.insert().values(event_id="evt_nowhere", month=datetime.now(UTC).date()))
    await steps.deliver(good)
    await steps.relay().publish_due()
    assert await steps.received() == [good["id"]]
    assert "MissingEvent" in (await steps.due())["evt_nowhere"].last_error


@pytest.mark.usefixtures("no_queue_of_all_types")
async def test_an_event_without_a_queue_waits_for_one(steps: RelaySteps) -> None:
    unroutable, good = stripe.event("mandate.updated", stripe.mandate()), paid()
    await steps.deliver(unroutable, good)
    await steps.relay().publish_due()
    assert await steps.received() == [good["id"]]
    row = (await steps.due())[unroutable["id"]]
    assert row.attempts == 1
    assert row.last_error.startswith("Unroutable")
    async with steps.database.transaction() as db:
        attempted_again = await db.execute(select(row.available_at > func.statement_timestamp() - timedelta(minutes=1)))
        assert attempted_again.scalar_one()
    await steps.bind(*PAYMENTS, "mandate.revoked.v1")
    await steps.retry([unroutable["id"]])
    await steps.relay().publish_due()
    assert await steps.received() == [unroutable["id"]]
    assert await steps.due() == {}


async def test_an_event_that_was_put_off_is_not_attempted_before_its_time(steps: RelaySteps) -> None:
    unroutable = stripe.event("mandate.updated", stripe.mandate())
    await steps.deliver(unroutable)
    async with steps.database.transaction() as db:  # the fourth attempt is seconds away
        await db.execute(update(journal_due).values(attempts=8))
    for _ in range(3):
        await steps.relay().publish_due()
    assert (await steps.due())[unroutable["id"]].attempts == 9


@pytest.fixture
async def without_index_scans(created: CreatedDatabase) -> AsyncIterator[Database]:
    """A database that does not return rows in order by chance."""
    owner = await asyncpg.connect(created.owner_url)
    await owner.execute("ALTER DATABASE gateway_relay SET enable_indexscan = off")
    async with opened(created.url) as database:
        yield database
    await owner.execute("ALTER DATABASE gateway_relay RESET enable_indexscan")
    await owner.close()


async def test_the_oldest_event_is_published_first(
    steps: RelaySteps, without_index_scans: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BATCH", 2)
    steps = replace(steps, database=without_index_scans)
    events = [paid() for _ in range(10)]
    await steps.deliver(*reversed(events))
    async with steps.database.transaction() as db:
        for age, event in enumerate(reversed(events)):
            due = update(journal_due).where(journal_due.c.event_id == event["id"])
            await db.execute(due.values(available_at=func.now() - timedelta(minutes=age)))
    for _ in range(5):
        await steps.relay().publish_due()
    received = await steps.received()
    pairs = [{event["id"] for event in events[n : n + 2]} for n in range(0, 10, 2)]
    assert [set(received[n : n + 2]) for n in range(0, 10, 2)] == pairs


async def test_two_relays_publish_each_event_once(steps: RelaySteps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "BATCH", 5)
    events = [paid() for _ in range(40)]
    await steps.deliver(*events)
    relays = [steps.relay(), steps.relay()]
    for _ in range(8):
        await asyncio.gather(*(each.publish_due() for each in relays))
    assert sorted(await steps.received()) == sorted(event["id"] for event in events)


async def published(steps: RelaySteps, count: int) -> list[str]:
    """Events that were published. Their ids, in the order in which they were received."""
    events = [paid() for _ in range(count)]
    await steps.deliver(*events)
    await steps.relay().publish_due()
    await steps.received()
    return [event["id"] for event in events]


async def test_replayed_events_are_published_again(steps: RelaySteps) -> None:
    ids = await published(steps, 4)
    assert await replay(steps.database, event_ids=ids[:2]) == 2
    assert await replay(steps.database, since=datetime.now(UTC) + timedelta(days=40)) == 0
    await due_now(steps)
    slow = steps.relay(replays_per_second=0.01)
    for _ in range(3):
        await slow.replay_due()
    assert await steps.received() == ids[:1], "the next one has its time"
    assert await replay(steps.database, since=datetime.now(UTC) - timedelta(hours=1)) == 4
    await due_now(steps)
    await steps.relay(replays_per_second=1000).replay_due()
    assert await steps.received() == ids
    assert await steps.due() == {}


async def due_now(steps: RelaySteps) -> None:
    async with steps.database.transaction() as db:
        await db.execute(update(journal_replay).values(next_at=func.now()))


async def test_a_replay_by_an_operator_is_recorded_in_its_commit(steps: RelaySteps) -> None:
    ids = await published(steps, 2)
    assert await replay(steps.database, event_ids=ids, actor=operator("ops-7")) == 2
    async with steps.database.transaction() as db:
        query = (
            "SELECT convert_from(body, 'UTF8') FROM outbox_messages WHERE routing_key = :type ORDER BY id DESC LIMIT 1"
        )
        record = AuditRecorded.model_validate_json(str(await db.scalar(text(query), {"type": AuditRecorded.type})))
    assert (record.actor.id, record.actor.role, record.act.action) == ("ops-7", "operator", "event.replayed")
    assert record.act.references == tuple(ids) and (record.act.after or {})["count"] == 2


async def test_live_events_are_published_before_replayed_ones(steps: RelaySteps) -> None:
    replayed = await published(steps, 12)
    await replay(steps.database, event_ids=replayed)
    relay = steps.relay(replays_per_second=50)
    await due_now(steps)
    await relay.replay_due()
    live = [paid() for _ in range(3)]
    await steps.deliver(*live)
    await due_now(steps)
    await relay.replay_due()
    assert await steps.received() == replayed[:5], "nothing is replayed while a live event is due"
    await relay.publish_due()
    assert sorted(await steps.received()) == sorted(event["id"] for event in live), "and no replayed event is live"
    await relay.replay_due()
    assert await steps.received() == replayed[5:10]
    assert (await steps.due()).keys() == set(replayed[10:])


async def test_relays_together_keep_the_rate_of_replays(steps: RelaySteps) -> None:
    replayed = await published(steps, 30)
    await replay(steps.database, event_ids=replayed)
    relays = [steps.relay(replays_per_second=0.01) for _ in range(4)]
    await due_now(steps)
    await asyncio.gather(*(relay.replay_due() for relay in relays))
    assert await steps.received() == replayed[:1]


async def test_an_event_that_is_fetched_again_does_not_wait_for_a_replay(steps: RelaySteps) -> None:
    first, second = await published(steps, 2)
    await replay(steps.database, event_ids=[first, second])
    async with steps.database.transaction() as db:
        assert await republish(db, [second]) == 1
    await steps.relay().publish_due()
    assert await steps.received() == [second]


async def test_a_row_that_nobody_signed_is_not_published(steps: RelaySteps) -> None:
    forged, good = paid(), paid()
    await steps.deliver(forged, secret="whsec_of_a_thief")
    await steps.deliver(good)
    await steps.write("evt_unsigned", b"{}", source=Source.WEBHOOK)
    await steps.relay().publish_due()
    assert await steps.received() == [good["id"]]
    due = await steps.due()
    assert due.keys() == {forged["id"], "evt_unsigned"}
    assert due[forged["id"]].last_error == "UnverifiedEvent: signature_invalid"
    assert due["evt_unsigned"].last_error == "UnverifiedEvent: signature_missing"


async def test_a_row_with_the_signature_of_another_is_not_published(steps: RelaySteps) -> None:
    event = paid()
    await steps.deliver(event)
    async with steps.database.transaction() as db:
        await db.execute(update(journal_events).values(body=b'{"id": "evt_2", "type": "payment_intent.succeeded"}'))
    await steps.relay().publish_due()
    assert await steps.received() == []


async def test_an_event_of_a_rolled_secret_is_published_while_the_secret_is_kept(steps: RelaySteps) -> None:
    event = paid()
    await steps.deliver(event, secret="whsec_rolled")
    await steps.relay().publish_due()
    assert (await steps.due()).keys() == {event["id"]}, "it is kept"
    await steps.retry([event["id"]])
    await steps.relay(secrets=[SECRET.encode(), b"whsec_rolled"]).publish_due()
    assert await steps.received() == [event["id"]]


async def test_old_signatures_are_valid_in_the_journal(steps: RelaySteps) -> None:
    """The tolerance is for deliveries: a replay comes months later."""
    old = paid()
    body = stripe.body_of(old)
    async with steps.database.transaction() as db:
        signature = stripe.sign(body, at=1_700_000_000)
        write = func.journal_write([old["id"]], [old["type"]], [body], [signature], ["webhook"])
        await db.execute(select(write))
    await steps.relay().publish_due()
    assert await steps.received() == [old["id"]]


async def test_the_backlog_is_measured(steps: RelaySteps) -> None:
    replayed = await published(steps, 2)
    await replay(steps.database, event_ids=replayed)
    await steps.deliver(paid(), secret="whsec_of_a_thief")
    await steps.relay().publish_due()
    await steps.deliver(paid(), paid())
    stop = asyncio.Event()
    measuring = asyncio.create_task(steps.relay().measure(stop))

    async def is_measured() -> bool:
        return REGISTRY.get_sample_value("bursar_journal_deferred") == 1

    await until(is_measured)
    stop.set()
    await measuring
    assert REGISTRY.get_sample_value("bursar_due", {"table": "journal"}) == 3
    assert REGISTRY.get_sample_value("bursar_due", {"table": "journal replay"}) == 2
    assert (REGISTRY.get_sample_value("bursar_oldest_due_seconds", {"table": "journal"}) or 0) > 0


async def test_nothing_is_late_that_waits_for_its_next_attempt(steps: RelaySteps) -> None:
    async with steps.database.transaction() as db:
        assert await measure(db) == Backlog(live=0, replay=0, deferred=0, oldest_seconds=0)
    await steps.deliver(paid())
    async with steps.database.transaction() as db:
        await db.execute(update(journal_due).values(available_at=func.now() + timedelta(hours=1), attempts=1))
    async with steps.database.transaction() as db:
        assert await measure(db) == Backlog(live=1, replay=0, deferred=1, oldest_seconds=0)


@pytest.mark.parametrize("sweep", ["measure", "maintain"])
async def test_a_sweep_is_not_repeated_at_once(steps: RelaySteps, monkeypatch: pytest.MonkeyPatch, sweep: str) -> None:
    calls, transaction = 0, steps.database.transaction

    def counted() -> Any:
        nonlocal calls
        calls += 1
        return transaction()

    monkeypatch.setattr(steps.database, "transaction", counted)
    stop = asyncio.Event()
    sweeping = asyncio.create_task(getattr(steps.relay(), sweep)(stop))
    await asyncio.sleep(1)
    stop.set()
    await sweeping
    assert calls == 1


async def test_a_reconciler_that_was_never_started_is_measured(steps: RelaySteps) -> None:
    """By the relay, because what was not started reports nothing."""
    async with steps.database.transaction() as db:
        await db.execute(update(object_comparison).values(created_at=func.now() - timedelta(days=2)))
    stop = asyncio.Event()
    measuring = asyncio.create_task(steps.relay().measure(stop))

    def age(of: str) -> float:
        return REGISTRY.get_sample_value("bursar_stripe_comparison_age_seconds", {"of": of}) or 0

    async def is_measured() -> bool:
        return age("objects") > 86_400

    await until(is_measured)
    assert age("events") > 86_400
    stop.set()
    await measuring
    async with steps.database.transaction() as db:
        await db.execute(update(object_comparison).values(completed_at=func.now()))
        assert (await ages(db))["objects"] < 60
