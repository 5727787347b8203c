"""A database with the kit's tables and a table of the tests, and a publisher.

Tests of the kit create tables as they need them: they use the owner's login.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, text
from tests.kit.totals import totals

from kit.db import ddl, delivery_ddl, erasure_ddl
from kit.db.database import Database
from kit.messaging.broker import Publisher
from testkit import postgres_server as pg
from testkit.rabbit_server import RabbitServer


@pytest.fixture(scope="session")
def kit_database(postgres_server: pg.PostgresServer) -> pg.Database:
    return postgres_server.create_database("kit_tests")


@pytest.fixture(scope="session")
async def prepared(kit_database: pg.Database) -> pg.Database:
    database = Database(kit_database.owner_url)

    def create(connection: Connection) -> None:
        with Operations.context(MigrationContext.configure(connection)) as operations:
            ddl.create_v1(api_login=kit_database.api_login)
            delivery_ddl.create_v2(api_login=kit_database.api_login)
            for statement in erasure_ddl.V1:
                operations.execute(statement)
        connection.execute(text("CREATE TABLE done (event_id text NOT NULL, note text NOT NULL DEFAULT '')"))

    async with database.engine.begin() as connection:
        await connection.run_sync(create)
    await database.close()
    return kit_database


@pytest.fixture
async def database(prepared: pg.Database) -> AsyncIterator[Database]:
    """Empty tables."""
    database = Database(prepared.owner_url, pool_size=20)
    async with database.transaction() as db:
        messages = "outbox_messages, outbox_due, outbox, inbox"
        await db.execute(
            text(
                f"TRUNCATE {messages}, facts, fact_keys, jobs, idempotency_keys, idle_workers, done, erased_identifiers"
            )
        )
    yield database
    await database.close()


@pytest.fixture
async def with_totals(database: Database) -> AsyncIterator[Database]:
    """With the table of `totals.projection`, empty."""
    async with database.transaction() as db:
        await db.run_sync(totals.metadata.create_all)
    yield database
    async with database.transaction() as db:
        await db.run_sync(totals.metadata.drop_all)


@pytest.fixture
async def publisher(rabbit_server: RabbitServer) -> AsyncIterator[Publisher]:
    publisher = Publisher(rabbit_server.url, name="tests")
    yield publisher
    await publisher.close()


@pytest.fixture
def queue_name() -> Iterator[str]:
    yield f"kit-tests.{uuid4().hex[:8]}"
