"""A service's database, migrated, for tests that run without the service's processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kit.db import migrate
from kit.db.database import Database
from testkit import postgres_server as pg


def migrated(server: pg.PostgresServer, name: str, package_file: str) -> pg.Database:
    """Creates the database `name` and runs all migrations of the package."""
    created = server.create_database(name)
    migrate.upgrade(created.url, migrate.folder_of(package_file))
    return created


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()
