"""Replays: what is selected, how fast it is published, and the command."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, text, update
from tests.databases import migrated
from tests.webhook_gateway.relay_steps import RelaySteps, paid, relay_steps

import webhook_gateway
from contracts.audit import AuditRecorded
from kit.messaging.audit import operator
from kit.messaging.broker import BrokerDown
from testkit.postgres_server import Database as CreatedDatabase
from testkit.postgres_server import PostgresServer
from testkit.rabbit_server import RabbitServer
from webhook_gateway import relay
from webhook_gateway import replay as command
from webhook_gateway.replay import TooMany, replay
from webhook_gateway.tables import journal_due, journal_events, journal_replay

pytestmark = pytest.mark.server  # starts a server of its own


@pytest.fixture(scope="module")
def created(postgres_server: PostgresServer) -> CreatedDatabase:
    return migrated(postgres_server, "gateway_replays", webhook_gateway.__file__)


@pytest.fixture
async def steps(created: CreatedDatabase, own_rabbit: RabbitServer) -> AsyncIterator[RelaySteps]:
    async with relay_steps(created.url, own_rabbit.url, "payment.succeeded.v1") as steps:
        yield steps


async def journaled(steps: RelaySteps, count: int) -> list[str]:
    """Events that are not due, received a minute apart, the last one of the list first."""
    events = [paid() for _ in range(count)]
    await steps.deliver(*events)
    async with steps.database.transaction() as db:
        await db.execute(journal_due.delete())
        for age, event in enumerate(events):
            row = update(journal_events).where(journal_events.c.event_id == event["id"])
            await db.execute(row.values(received_at=func.now() - timedelta(minutes=age)))
    return [event["id"] for event in events]


async def now(steps: RelaySteps) -> None:
    """The next batch of the replay may be published now."""
    async with steps.database.transaction() as db:
        await db.execute(update(journal_replay).values(next_at=func.now()))


async def test_as_many_as_allowed_are_replayed_and_of_more_none(steps: RelaySteps) -> None:
    ids = await journaled(steps, 3)
    with pytest.raises(TooMany) as refused:
        await replay(steps.database, event_ids=ids, most=2)
    assert refused.value.count == 3
    assert await steps.due() == {}
    assert await replay(steps.database, event_ids=ids, most=3) == 3


async def test_a_record_names_a_hundred_events_at_most(steps: RelaySteps) -> None:
    ids = await journaled(steps, 1)
    named = [*ids, *(f"evt_unknown_{n}" for n in range(150))]
    assert await replay(steps.database, event_ids=named, actor=operator("ops-7")) == 1
    async with steps.database.transaction() as db:
        body = await db.scalar(text("SELECT convert_from(body, 'UTF8') FROM outbox_messages ORDER BY id DESC LIMIT 1"))
    record = AuditRecorded.model_validate_json(str(body))
    assert record.act.references == tuple(named[:100])
    assert (record.act.after or {})["events"] == named[:100]


async def test_an_event_that_was_put_off_is_tried_at_once(steps: RelaySteps) -> None:
    """Its failures are forgotten: what made it fail is mended."""
    (id,) = await journaled(steps, 1)
    assert await replay(steps.database, event_ids=[id]) == 1
    async with steps.database.transaction() as db:
        await db.execute(update(journal_due).values(attempts=7, available_at=func.now() + timedelta(hours=1)))
    assert await replay(steps.database, event_ids=[id]) == 1
    await now(steps)
    assert (await steps.due())[id].attempts == 0
    await steps.relay().replay_due()
    assert await steps.received() == [id]


async def test_they_are_published_in_the_order_in_which_they_were_received(steps: RelaySteps) -> None:
    ids = await journaled(steps, 5)
    await replay(steps.database, since=datetime.now(UTC) - timedelta(days=1))
    slow = steps.relay(replays_per_second=10)  # one at a time
    more = []
    for _ in range(6):
        await now(steps)
        more.append(await slow.replay_due())
    assert await steps.received() == ids[::-1]
    assert more == [True] * 5 + [False]
    assert not await slow.replay_due(), "not before its time"


async def test_the_next_batch_follows_soon_and_an_empty_lane_is_left_alone(
    steps: RelaySteps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "REPLAY_SECONDS", 0.001)
    monkeypatch.setattr(relay, "IDLE_SECONDS", 0.3)
    replaying, stop = steps.relay(), asyncio.Event()
    outcomes: list[bool | Exception] = [True, True, BrokerDown("away"), True, False, False]
    times: list[float] = []

    async def replay_due() -> bool:
        times.append(asyncio.get_running_loop().time())
        outcome = outcomes[len(times) - 1]
        if len(times) == len(outcomes):
            stop.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(replaying, "replay_due", replay_due)
    await replaying.run_replay(stop)
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert [wait >= 0.3 for wait in waits] == [False, False, True, False, True]


async def run(monkeypatch: pytest.MonkeyPatch, url: str, *arguments: str) -> int:
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("AMQP_URL", "amqp://webhook-gateway:x@127.0.0.1:9/")
    monkeypatch.setattr("sys.argv", ["replay", *arguments])
    return await command._main()


async def test_the_command(
    steps: RelaySteps, created: CreatedDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = await journaled(steps, 3)
    assert await run(monkeypatch, created.url, *ids[:2]) == 0
    assert capsys.readouterr().out.endswith("\n2 events will be published again\n"), "after the log"
    assert (await steps.due()).keys() == set(ids[:2])
    assert await run(monkeypatch, created.url, "evt_unknown") == 1
    assert await run(monkeypatch, created.url, "--since", "2001-01-01", "--type", "charge.refunded") == 1
    assert await run(monkeypatch, created.url, "--since", "2001-01-01", "--operator", "ops-7") == 0
    assert (await steps.due()).keys() == set(ids)
    with pytest.raises(SystemExit) as refused:
        await run(monkeypatch, created.url)
    assert refused.value.code == 2
    monkeypatch.delenv("DATABASE_URL")
    with pytest.raises(SystemExit):
        monkeypatch.setattr("sys.argv", ["replay", *ids])
        await command._main()
    assert "DATABASE_URL: Field required" in capsys.readouterr().err


def test_a_time_without_a_zone_is_utc() -> None:
    assert command._timestamp("2026-11-01T10:00") == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert command._timestamp("2026-11-01T10:00+02:00") == datetime(2026, 11, 1, 8, tzinfo=UTC)
