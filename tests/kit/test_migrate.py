"""Migrations: as long as they need, without holding up the service while they wait for a lock."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tests.waiting import until

from kit.db import migrate
from testkit import postgres_server as pg

REVISION = """
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("{statement}")
"""


def folder_with(path: Path, statement: str) -> Path:
    (path / "versions").mkdir()
    (path / "env.py").write_text("")
    (path / "versions" / "0001_only.py").write_text(REVISION.format(statement=statement))
    return path


@pytest.fixture
def own(postgres_server: pg.PostgresServer, request: pytest.FixtureRequest) -> pg.Database:
    name = f"migrate_{abs(hash(request.node.name)) % 10**8}"
    request.addfinalizer(lambda: postgres_server.drop_database(name))
    return postgres_server.create_database(name)


async def test_a_statement_may_take_longer_than_the_services_commands(
    own: pg.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(url: URL, *, connect_args: dict[str, Any], **settings: Any) -> AsyncEngine:
        if "command_timeout" in connect_args:
            connect_args["command_timeout"] = 0.2
        return create_async_engine(url, connect_args=connect_args, **settings)

    for module in ("migrate", "database"):
        monkeypatch.setattr(f"kit.db.{module}.create_async_engine", impatient)
    folder = folder_with(tmp_path, "SELECT pg_sleep(1)")
    await asyncio.to_thread(migrate.upgrade, own.owner_url, folder)


async def test_nobody_waits_behind_a_migration_that_waits_for_a_lock(
    own: pg.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOCK_SECONDS", 1)
    reader, writer = [await asyncpg.connect(own.owner_url) for _ in range(2)]
    try:
        await writer.execute("CREATE TABLE busy (n integer)")
        await reader.execute("BEGIN")
        await reader.execute("SELECT * FROM busy")  # a lock that ALTER TABLE waits for
        folder = folder_with(tmp_path, "ALTER TABLE busy ADD COLUMN added integer")
        migrating = asyncio.create_task(asyncio.to_thread(migrate.upgrade, own.owner_url, folder))

        async def waiting() -> bool:
            return bool(await writer.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))

        await until(waiting)
        await asyncio.wait_for(writer.execute("INSERT INTO busy VALUES (1)"), 60)  # the reader is still there
        assert not migrating.done()
        await reader.execute("COMMIT")
        await migrating
        assert await writer.fetchval("SELECT count(*) FROM busy WHERE added IS NULL") == 1
    finally:
        await reader.close()
        await writer.close()
