"""Alembic without an ini file. Each service has its versions in `migrations/`, next to `src`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog
from alembic import context
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from kit.db.database import KIT_TABLES
from kit.runtime.failures import describe, sqlstate

log = structlog.get_logger(__name__)

LOCK_SECONDS = 2
ATTEMPTS = 150
_CONTENDED = ("55P03", "40P01")
"""Waited too long for a lock; chosen as the victim of a deadlock."""


def folder_of(package_file: str) -> Path:
    """The migrations of a package, given its `__file__`: inside it in a wheel, next to `src` in a checkout."""
    inside = Path(package_file).parent / "migrations"
    return inside if inside.is_dir() else Path(package_file).parents[2] / "migrations"


def upgrade(url: str, folder: Path, revision: str = "head") -> None:
    """Upgrades the database at `url` to `revision`. Concurrent calls wait for each other.

    A statement may take as long as it needs. What it waits for is bounded: while it waits for a table's lock, everybody
    who comes later waits behind it. After LOCK_SECONDS everything is rolled back and tried again, up to ATTEMPTS times.
    """
    asyncio.run(_upgrade(url, folder, revision))


async def _upgrade(url: str, folder: Path, revision: str) -> None:
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"),
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"timeout": 5, "server_settings": {"timezone": "UTC"}},  # no command_timeout
    )
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with engine.connect() as connection:
                await connection.run_sync(_run, folder, revision)
                await connection.commit()
                return
        except DBAPIError as error:
            if sqlstate(error) not in _CONTENDED or attempt == ATTEMPTS:
                raise
            log.warning("migration waits for a lock", attempt=attempt, error=describe(error))
        await asyncio.sleep(LOCK_SECONDS)


def _run(connection: Connection, folder: Path, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(folder))
    script = ScriptDirectory.from_config(config)
    environment = EnvironmentContext(config, script, fn=lambda rev, _: script._upgrade_revs(revision, rev))
    with environment:
        context.configure(connection=connection, target_metadata=[KIT_TABLES, MetaData()])
        with context.begin_transaction():
            # first, and for as long as another migration takes
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('bursar.migrate'))")
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
            context.run_migrations()
