"""Alembic without an ini file. Each service has its versions in `migrations/`, next to `src`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic import context
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData

from kit.db.database import KIT_TABLES, Database


def folder_of(package_file: str) -> Path:
    """The migrations of a package, given its `__file__`: inside it in a wheel, next to `src` in a checkout."""
    inside = Path(package_file).parent / "migrations"
    return inside if inside.is_dir() else Path(package_file).parents[2] / "migrations"


def upgrade(url: str, folder: Path, revision: str = "head") -> None:
    """Upgrades the database at `url` to `revision`. Concurrent calls wait for each other."""
    asyncio.run(_upgrade(url, folder, revision))


async def _upgrade(url: str, folder: Path, revision: str) -> None:
    database = Database(url)
    try:
        async with database.engine.connect() as connection:
            await connection.run_sync(_run, folder, revision)
            await connection.commit()
    finally:
        await database.close()


def _run(connection: Connection, folder: Path, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(folder))
    script = ScriptDirectory.from_config(config)
    environment = EnvironmentContext(config, script, fn=lambda rev, _: script._upgrade_revs(revision, rev))
    with environment:
        context.configure(connection=connection, target_metadata=[KIT_TABLES, MetaData()])
        with context.begin_transaction():
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('bursar.migrate'))")
            context.run_migrations()
