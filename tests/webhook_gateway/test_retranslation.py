"""After a mended translation: what an older one has ignored is published, what it published otherwise is reported."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from tests.databases import migrated
from tests.webhook_gateway.relay_steps import RelaySteps, paid, relay_steps

import webhook_gateway
from testkit.postgres_server import Database as CreatedDatabase
from testkit.postgres_server import PostgresServer
from testkit.rabbit_server import RabbitServer
from webhook_gateway import relay
from webhook_gateway.replay import replay
from webhook_gateway.retranslation import Retranslated, compare, publish_ignored
from webhook_gateway.tables import journal_entries
from webhook_gateway.translate import translate

pytestmark = pytest.mark.server  # starts a server of its own


@pytest.fixture(scope="module")
def created(postgres_server: PostgresServer) -> CreatedDatabase:
    return migrated(postgres_server, "gateway_retranslation", webhook_gateway.__file__)


@pytest.fixture
async def steps(created: CreatedDatabase, own_rabbit: RabbitServer) -> AsyncIterator[RelaySteps]:
    async with relay_steps(created.url, own_rabbit.url, "payment.succeeded.v1") as steps:
        yield steps


@pytest.fixture
def published_by_older_version(steps: RelaySteps, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Delivers events to a gateway whose translation ignores some, and reads others with half of their amount."""

    async def publish(*events: dict[str, Any], ignores: tuple[str, ...] = (), halves: tuple[str, ...] = ()) -> None:
        def older(event: Mapping[str, Any], *, received_at: datetime) -> Any:
            if event["id"] in ignores:
                return []
            if event["id"] in halves:
                thing = event["data"]["object"]
                event = {**event, "data": {"object": {**thing, "amount_received": thing["amount_received"] // 2}}}
            return translate(event, received_at=received_at)

        await steps.deliver(*events)
        with monkeypatch.context() as patched:
            patched.setattr(relay, "translate", older)
            await steps.relay().publish_due()
        await steps.received()

    return publish


async def retranslate(steps: RelaySteps, **period: Any) -> Retranslated:
    """What the command does, and then the relay."""
    result = await compare(steps.database, **period)
    await publish_ignored(steps.database, result)
    await steps.relay().replay_due()
    return result


async def test_what_the_older_version_has_ignored_is_published_once(
    steps: RelaySteps, published_by_older_version: Callable[..., Any]
) -> None:
    ignored, other = paid(), paid()
    await published_by_older_version(ignored, other, ignores=(ignored["id"],))
    assert (await retranslate(steps)).ignored == [ignored["id"]]
    assert await steps.received() == [ignored["id"]]
    assert (await retranslate(steps)).ignored == []
    assert await steps.received() == []


async def test_what_was_published_otherwise_is_reported_and_not_published(
    steps: RelaySteps, published_by_older_version: Callable[..., Any]
) -> None:
    """Consumers would ignore it: its id is the same."""
    changed, other = paid(), paid()
    await published_by_older_version(changed, other, halves=(changed["id"],))
    result = await retranslate(steps)
    assert result.changed == [(changed["id"], "payment_intent.succeeded")]
    assert result.compared == 2
    assert await steps.received() == []


async def test_a_replay_does_not_hide_what_was_published_otherwise(
    steps: RelaySteps, published_by_older_version: Callable[..., Any]
) -> None:
    changed = paid()
    await published_by_older_version(changed, halves=(changed["id"],))
    await replay(steps.database, event_ids=[changed["id"]])
    await steps.relay().replay_due()
    assert await steps.received() == [changed["id"]]
    assert [id for id, _ in (await compare(steps.database)).changed] == [changed["id"]]


async def test_an_event_of_a_version_without_fingerprints_is_counted(
    steps: RelaySteps, published_by_older_version: Callable[..., Any]
) -> None:
    await published_by_older_version(paid(), paid())
    async with steps.database.transaction() as db:
        await db.execute(update(journal_entries).values(translation=None))
    result = await compare(steps.database)
    assert (result.compared, result.unknown, result.changed, result.ignored) == (2, 2, [], [])


async def test_what_is_still_due_is_not_compared(steps: RelaySteps) -> None:
    await steps.deliver(paid())
    assert (await compare(steps.database)).compared == 0


async def test_only_events_of_the_period_are_compared(
    steps: RelaySteps, published_by_older_version: Callable[..., Any]
) -> None:
    await published_by_older_version(*(paid() for _ in range(3)))
    now = datetime.now(UTC)
    assert (await compare(steps.database, since=now - timedelta(hours=1))).compared == 3
    assert (await compare(steps.database, since=now + timedelta(hours=1))).compared == 0


async def test_events_of_several_batches_are_all_compared(
    steps: RelaySteps, published_by_older_version: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhook_gateway.retranslation.BATCH", 2)
    events = [paid() for _ in range(7)]
    await published_by_older_version(*events, ignores=tuple(event["id"] for event in events))
    assert sorted((await compare(steps.database)).ignored) == sorted(event["id"] for event in events)
