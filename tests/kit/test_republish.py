"""Events of the outbox are published again, with their ids, and it is recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from tests.kit.events import paid

from kit.db.database import Database
from kit.messaging import republish as command
from kit.messaging.audit import operator
from kit.messaging.outbox import OutgoingMessage, put_all, to_message
from kit.messaging.republish import republish

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


async def published(database: Database, *ids: str) -> None:
    """In the outbox, and not due any more; with a retry, which is no event."""
    retry = OutgoingMessage(key="retry", exchange="test.queues", routing_key="test.queue", body=b"{}")
    async with database.transaction() as db:
        await put_all(db, [*(to_message(paid(id)) for id in ids), retry])
        await db.execute(text("DELETE FROM outbox_due"))


async def due(database: Database) -> list[tuple[str, str]]:
    query = "SELECT message_key, routing_key FROM outbox_due JOIN outbox_messages USING (id, month) ORDER BY id"
    async with database.transaction() as db:
        return [(row.message_key, row.routing_key) for row in await db.execute(text(query))]


async def test_events_are_due_again_in_their_order_and_retries_are_not(database: Database) -> None:
    await published(database, "evt_1", "evt_2")
    assert await republish(database, service="checkout", since=LONG_AGO) == 2
    assert await republish(database, service="checkout", since=LONG_AGO) == 0, "they are due already"
    assert [key for key, _ in await due(database)] == ["evt_1", "evt_2"]


async def test_only_of_a_time_and_a_type(database: Database) -> None:
    await published(database, "evt_1")
    assert await republish(database, service="checkout", since=datetime.now(UTC) + timedelta(hours=1)) == 0
    assert await republish(database, service="checkout", since=LONG_AGO, types=["purchase.ended.v1"]) == 0
    assert await republish(database, service="checkout", since=LONG_AGO, types=["payment.succeeded.v1"]) == 1


async def test_it_is_recorded_in_its_commit(database: Database) -> None:
    await published(database, "evt_1")
    await republish(database, service="checkout", since=LONG_AGO, actor=operator("ops-7"))
    assert [type_ for _, type_ in await due(database)] == ["payment.succeeded.v1", "audit.recorded.v1"]


async def run(monkeypatch: pytest.MonkeyPatch, url: str, *arguments: str, login: str = "checkout") -> int:
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("AMQP_URL", f"amqp://{login}:x@127.0.0.1:9/")
    monkeypatch.setattr("sys.argv", ["republish", *arguments])
    return await command._main()


async def test_the_command(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await published(database, "evt_1")
    assert await run(monkeypatch, database.url, "--since", "2001-01-01", "--type", "payment.succeeded.v1") == 0
    assert capsys.readouterr().out.endswith("\ncheckout: 1 events will be published again\n"), "after the log"
    for arguments, login, why in (
        ((), "checkout", "--since"),
        (("--since", "2001-01-01"), "deployment", "no service's login"),
    ):
        with pytest.raises(SystemExit) as refused:
            await run(monkeypatch, database.url, *arguments, login=login)
        assert refused.value.code == 2
        assert why in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["republish", "--since", "2001-01-01"])
    monkeypatch.delenv("DATABASE_URL")
    with pytest.raises(SystemExit):
        await command._main()
    assert "DATABASE_URL: Field required" in capsys.readouterr().err


def test_a_time_without_a_zone_is_utc() -> None:
    assert command._time("2026-11-01T10:00") == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert command._time("2026-11-01T10:00+02:00") == datetime(2026, 11, 1, 8, tzinfo=UTC)
