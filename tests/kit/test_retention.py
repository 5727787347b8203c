"""Retention: what is done ends, what is not stays, and the previous version's messages are published."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from kit.db.database import Database
from kit.jobs.jobs import NewJob, put_all
from kit.messaging import inbox, outbox
from kit.messaging.outbox import OutgoingMessage
from kit.messaging.retention import Retention
from kit.runtime.settings import RetentionSettings
from testkit import postgres_server as pg

SETTINGS = RetentionSettings()


def message(key: str) -> OutgoingMessage:
    return OutgoingMessage(key=key, exchange="", routing_key="nowhere", body=b"{}", headers={"n": 1})


async def rows(database: Database, sql: str, **values: Any) -> list[tuple[Any, ...]]:
    async with database.transaction() as db:
        result = await db.execute(text(sql), values)
        return [tuple(row) for row in result] if result.returns_rows else []


async def expire(database: Database) -> None:
    await Retention(database, SETTINGS).expire()


def month_before(days: int) -> date:
    return (datetime.now(UTC) - timedelta(days=days)).date().replace(day=1)


@pytest.fixture
async def old(database: Database) -> AsyncIterator[date]:
    """A month that is older than anything is kept, with partitions for it."""
    month = month_before(200)
    after = (month + timedelta(days=32)).replace(day=1)
    names = [f"{table}_{month:%Y_%m}" for table in ("outbox_messages", "inbox")]
    for name in names:
        parent = name.removesuffix(f"_{month:%Y_%m}")
        await rows(database, f"CREATE TABLE {name} PARTITION OF {parent} FOR VALUES FROM ('{month}') TO ('{after}')")
    yield month
    for name in names:
        await rows(database, f"DROP TABLE IF EXISTS {name}")


async def partitions(database: Database, table: str) -> set[str]:
    found = await rows(
        database,
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = CAST(:table AS regclass)",
        table=table,
    )
    return {name for (name,) in found}


async def put(database: Database, key: str, month: date, *, published: bool) -> None:
    await rows(
        database,
        "WITH message AS (INSERT INTO outbox_messages (month, message_key, exchange, routing_key, headers, body,"
        " mandatory) VALUES (:month, :key, '', 'nowhere', '{}', '', false) RETURNING id, month)"
        " INSERT INTO outbox_due (id, month) SELECT id, month FROM message WHERE NOT :published",
        key=key,
        month=month,
        published=published,
    )


async def test_partitions_exist_for_this_month_and_the_next_two(database: Database) -> None:
    months = [month_before(0)]
    while len(months) < 3:
        months.append((months[-1] + timedelta(days=32)).replace(day=1))
    await rows(database, f"DROP TABLE inbox_{months[2]:%Y_%m}")
    await rows(database, "INSERT INTO inbox (queue, event_id, month) VALUES ('q', 'early', :month)", month=months[2])
    await expire(database)
    for table in ("outbox_messages", "inbox"):
        assert {f"{table}_{month:%Y_%m}" for month in months} < await partitions(database, table)
    found = await rows(database, "SELECT tableoid::regclass::text FROM inbox WHERE event_id = 'early'")
    assert found == [(f"inbox_{months[2]:%Y_%m}",)], "what had come too early is in its partition"


async def test_a_month_ends_with_its_partition(database: Database, old: date) -> None:
    await put(database, "old", old, published=True)
    await put(database, "new", month_before(0), published=True)
    await rows(database, "INSERT INTO inbox (queue, event_id, month) VALUES ('q', 'old', :month)", month=old)
    await rows(database, "INSERT INTO inbox (queue, event_id) VALUES ('q', 'new')")
    await expire(database)
    assert await rows(database, "SELECT message_key FROM outbox_messages") == [("new",)]
    assert await rows(database, "SELECT event_id FROM inbox") == [("new",)]
    assert f"outbox_messages_{old:%Y_%m}" not in await partitions(database, "outbox_messages")


async def test_a_month_stays_as_long_as_it_is_kept(database: Database, old: date) -> None:
    await put(database, "old", old, published=True)
    await rows(database, "INSERT INTO inbox (queue, event_id, month) VALUES ('q', 'old', :month)", month=old)
    await Retention(database, RetentionSettings(keep_outbox_days=300, keep_inbox_days=300)).expire()
    assert await rows(database, "SELECT message_key FROM outbox_messages") == [("old",)]
    assert await rows(database, "SELECT event_id FROM inbox") == [("old",)]


async def test_no_partition_with_an_unpublished_message_is_dropped(database: Database, old: date) -> None:
    await put(database, "unpublished", old, published=False)
    await put(database, "published", old, published=True)
    await expire(database)
    assert len(await rows(database, "SELECT message_key FROM outbox_messages")) == 2
    await rows(database, "DELETE FROM outbox_due")
    await expire(database)
    assert await rows(database, "SELECT message_key FROM outbox_messages") == []


async def test_the_same_key_in_another_month_is_one_message_and_one_event(database: Database, old: date) -> None:
    await put(database, "known", old, published=True)
    await rows(database, "INSERT INTO inbox (queue, event_id, month) VALUES ('q', 'known', :month)", month=old)
    async with database.transaction() as db:
        await outbox.put_all(db, [message("known"), message("new"), message("new")])
        assert await inbox.claim_all(db, queue="q", event_ids=["known", "new"]) == {"new"}
        assert not await inbox.claim_all(db, queue="q", event_ids=["known"])
        assert await inbox.claim_all(db, queue="another", event_ids=["known"])
    assert await rows(database, "SELECT message_key FROM outbox_messages JOIN outbox_due USING (id)") == [("new",)]


async def test_retention_needs_no_rights_of_an_owner(database: Database, prepared: pg.Database, old: date) -> None:
    worker = Database(prepared.url)
    await Retention(worker, SETTINGS).expire()
    await worker.close()
    assert f"inbox_{old:%Y_%m}" not in await partitions(database, "inbox")


async def test_finished_jobs_and_keys_end_and_pending_jobs_do_not(database: Database) -> None:
    keys = ("pending", "done", "done long ago", "done ages ago", "failed", "failed ages ago")
    async with database.transaction() as db:
        await put_all(db, [NewJob(kind="k", key=key, payload={"name": "x"}) for key in keys])
    for key, column, days in (
        ("done", "done_at", 1),
        ("done long ago", "done_at", 40),
        ("done ages ago", "done_at", 800),
        ("failed", "failed_at", 1),
        ("failed ages ago", "failed_at", 800),
        ("pending", "available_at", 9000),
    ):
        await rows(
            database,
            f"UPDATE jobs SET {column} = now() - make_interval(days => :days) WHERE key = :key",
            key=key,
            days=days,
        )
    await rows(
        database,
        "INSERT INTO idempotency_keys (caller, key, request_hash, created_at)"
        " SELECT 'c', n::text, '', now() - make_interval(hours => n) FROM generate_series(1, 100, 33) AS n",
    )
    await rows(database, "INSERT INTO idle_workers VALUES (gen_random_uuid(), 'dead', now() - interval '1 hour')")
    await rows(database, "INSERT INTO idle_workers VALUES (gen_random_uuid(), 'alive', now())")
    await expire(database)
    found = dict(await rows(database, "SELECT key, payload <> '{}' FROM jobs"))
    assert found == {"pending": True, "done": True, "done long ago": False, "failed": True}
    assert await rows(database, "SELECT key FROM idempotency_keys ORDER BY key") == [("1",), ("34",)]
    assert await rows(database, "SELECT channel FROM idle_workers") == [("alive",)]


async def test_more_rows_than_a_chunk_end_in_one_run(database: Database) -> None:
    await rows(
        database,
        "INSERT INTO idempotency_keys (caller, key, request_hash, created_at)"
        " SELECT 'c', n::text, '', now() - interval '9 days' FROM generate_series(1, 2500) AS n",
    )
    await expire(database)
    assert await rows(database, "SELECT 1 FROM idempotency_keys") == []


# What a process of the previous version runs, see kit/messaging/outbox.py and relay.py of revision 2.

PUT_BEFORE = """
    INSERT INTO outbox (message_key, exchange, routing_key, headers, body, mandatory)
    VALUES (:key, '', 'nowhere', '{}', '', false) ON CONFLICT (message_key) DO NOTHING
"""
DUE_BEFORE = """
    SELECT * FROM outbox WHERE published_at IS NULL AND available_at <= now()
    ORDER BY id LIMIT 200 FOR UPDATE SKIP LOCKED
"""
PUBLISHED_BEFORE = "UPDATE outbox SET published_at = clock_timestamp() WHERE id = :id"


async def test_processes_of_the_previous_version_run_beside_this_one(database: Database) -> None:
    retention = Retention(database, SETTINGS)
    async with database.transaction() as db:
        await outbox.put(db, message("new"))
    for key in ("new", "old", "old"):
        await rows(database, PUT_BEFORE, key=key)
    assert await rows(database, "SELECT message_key FROM outbox") == [("old",)], "a message of this version is known"

    async with database.transaction() as db:  # its relay is publishing
        (due,) = await db.execute(text(DUE_BEFORE))
        await retention.adopt()
        await db.execute(text(PUBLISHED_BEFORE), {"id": due.id})
    await retention.adopt()
    assert await rows(database, "SELECT message_key FROM outbox_messages") == [("new",)], "it was published before"
    async with database.transaction() as db:
        await outbox.put(db, message("old"))
    assert await rows(database, "SELECT message_key FROM outbox_messages") == [("new",)], "the same key is one message"

    await rows(database, PUT_BEFORE, key="left behind")  # by an API whose relay has gone
    await rows(database, PUT_BEFORE, key="put off")
    await rows(
        database,
        "UPDATE outbox SET attempts = 3, last_error = 'E', available_at = now() + interval '1 h' "
        "WHERE message_key = 'put off'",
    )
    await retention.adopt()
    found = await rows(
        database,
        "SELECT message_key, attempts, last_error, available_at > now() FROM outbox_due "
        "JOIN outbox_messages USING (id) ORDER BY id",
    )
    assert found == [("new", 0, None, False), ("left behind", 0, None, False), ("put off", 3, "E", True)]
    assert await rows(database, "SELECT message_key FROM outbox WHERE published_at IS NULL") == []


async def test_an_event_is_claimed_once_by_both_versions(database: Database) -> None:
    claim_before = "INSERT INTO inbox (queue, event_id) VALUES ('q', :id) ON CONFLICT DO NOTHING RETURNING 1"
    assert await rows(database, claim_before, id="first") == [(1,)]
    async with database.transaction() as db:
        assert await inbox.claim_all(db, queue="q", event_ids=["first", "second"]) == {"second"}
    assert await rows(database, claim_before, id="second") == []
