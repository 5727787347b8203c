"""Queries that run in a loop use an index however many rows there are: their plans on a million rows of each table."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, text
from tests.kit.test_jobs import Handler
from tests.plans import faults_of, recorded

from kit.db import ddl, delivery_ddl
from kit.db.database import Database
from kit.http import idempotency
from kit.jobs.jobs import NewJob, expedite_all, put_all
from kit.jobs.worker import JobWorker
from kit.messaging import inbox, outbox
from kit.messaging.broker import Publisher
from kit.messaging.outbox import OutgoingMessage
from kit.messaging.relay import Relay
from kit.messaging.retention import Retention
from kit.runtime.settings import RetentionSettings
from testkit import postgres_server as pg

MILLION = """
    INSERT INTO outbox_messages (month, message_key, exchange, routing_key, headers, body, mandatory)
    SELECT date_trunc('month', now()) - interval '1 month' * (n % 3), 'm' || n, '', 'nowhere', '{}', '', false
    FROM generate_series(1, 1000000) AS n;
    INSERT INTO outbox_due (id, month, available_at)
    SELECT id, month, now() + interval '1 s' * (id % 2000 - 1000) FROM outbox_messages WHERE id % 5 = 0;
    INSERT INTO inbox (queue, event_id, month)
    SELECT 'q', 'e' || n, date_trunc('month', now()) - interval '1 month' * (n % 3)
    FROM generate_series(1, 1000000) AS n;
    INSERT INTO jobs (kind, key, payload, available_at, done_at, failed_at)
    SELECT 'test.act', 'j' || n, '{"what": "it"}', now() + interval '1 s' * (n % 2000 - 1000),
        CASE WHEN n % 10 > 1 THEN now() - interval '1 h' * (n % 20000) END,
        CASE WHEN n % 10 = 1 THEN now() - interval '1 h' * (n % 20000) END
    FROM generate_series(1, 1000000) AS n;
    INSERT INTO idempotency_keys (caller, key, request_hash, created_at)
    SELECT 'c', n::text, '', now() - interval '1 s' * n FROM generate_series(1, 1000000) AS n;
"""


@pytest.fixture(scope="module")
async def million(postgres_server: pg.PostgresServer) -> AsyncIterator[pg.Database]:
    created = postgres_server.create_database("kit_plans")
    database = Database(created.owner_url)

    def create(connection: Connection) -> None:
        with Operations.context(MigrationContext.configure(connection)):
            ddl.create_v1(api_login=created.api_login)
            delivery_ddl.create_v2(api_login=created.api_login)

    async with database.engine.begin() as connection:
        await connection.run_sync(create)
        await connection.execute(text("CREATE TABLE done (event_id text, note text)"))
        for table in ("outbox_messages", "inbox"):
            for months in (1, 2):
                await connection.execute(
                    text(
                        f"DO $$ DECLARE first date := date_trunc('month', now()) - interval '{months} month'; BEGIN "
                        f"EXECUTE format('CREATE TABLE {table}_before_{months} PARTITION OF {table} "
                        "FOR VALUES FROM (%L) TO (%L)', first, (first + interval '1 month')::date); END $$"
                    )
                )
    await database.close()
    driver = await asyncpg.connect(created.owner_url)
    await driver.execute(MILLION)
    await driver.execute("ANALYZE")
    await driver.close()
    yield created
    postgres_server.drop_database("kit_plans")


class NoPublisher(Publisher):
    """Some messages cannot be published."""

    async def publish(self, message: OutgoingMessage) -> None:
        if message.key.endswith("4000"):
            raise ValueError


async def test_no_loop_reads_or_sorts_a_large_table(million: pg.Database) -> None:
    database = Database(million.owner_url)
    messages = [OutgoingMessage(key=f"m{n}", exchange="", routing_key="x", body=b"") for n in range(999_980, 1_000_020)]
    new = [NewJob(kind="test.act", key=f"j{n}", payload={}) for n in range(999_980, 1_000_020)]
    worker = JobWorker(database, "tests", {"test.act": Handler()})
    async with recorded(database) as executed:
        async with database.transaction() as db:
            await outbox.put_all(db, messages)
            await put_all(db, new)
            claimed = await inbox.claim_all(db, queue="q", event_ids=[f"e{n}" for n in range(999_980, 1_000_020)])
            assert len(claimed) == 19
            await expedite_all(db, kind="test.act", due={"j1000010": datetime.now(UTC)})
        assert await Relay(database, NoPublisher("amqp://nowhere", name="tests")).publish_due() == 200
        jobs = await worker.take(16)
        assert len(jobs) == 16
        await worker.attempt(jobs[0])
        retention = Retention(database, RetentionSettings())
        await retention.adopt()
        async with database.transaction() as db:
            for expiry in retention.expiries:
                await db.execute(text(expiry.statement), {"keep": expiry.keep, "chunk": 10})
            await db.execute(text("SELECT min(id) FROM outbox_due"))
            month = await db.scalar(text("SELECT min(month) FROM outbox_due"))
            executed.pop()
            await db.execute(text("SELECT max(id) FROM outbox_messages WHERE month = :month"), {"month": month})
        await idempotency._claim(database, "c", "1000001", "")
    assert len(executed) > 15
    assert await faults_of(million.owner_url, executed) == []
    await database.close()
