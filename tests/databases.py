"""A service's database, migrated, for tests that run without the service's processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db import migrate
from kit.db.database import Database
from testkit import postgres_server as pg


def migrated(server: pg.PostgresServer, name: str, package_file: str) -> pg.Database:
    """Creates the database `name` and runs all migrations of the package."""
    created = server.create_database(name)
    migrate.upgrade(created.owner_url, migrate.folder_of(package_file))
    return created


def logins(database: pg.Database) -> dict[str, str]:
    """The settings of a process of any role but `api`, which gets `api_logins`."""
    return {
        "MIGRATE_DATABASE_URL": database.owner_url,
        "DATABASE_URL": database.url,
        "API_DATABASE_URL": database.api_url,
        "STAFF_DATABASE_URL": database.staff_url,
    }


def api_logins(database: pg.Database) -> dict[str, str]:
    return {"DATABASE_URL": database.api_url, "STAFF_DATABASE_URL": database.staff_url}


def api_database(database: pg.Database, *, pool_size: int = 10) -> Database:
    """As an API has it."""
    return Database(database.api_url, pool_size=pool_size, staff_url=database.staff_url)


async def empty(db: AsyncConnection, *tables: str) -> None:
    """Deletes all rows, in this order: only the owner may TRUNCATE."""
    for table in tables:
        await db.execute(text(f"DELETE FROM {table}"))


@asynccontextmanager
async def opened(url: str, *, staff_url: str | None = None) -> AsyncIterator[Database]:
    database = Database(url, staff_url=staff_url)
    try:
        yield database
    finally:
        await database.close()
