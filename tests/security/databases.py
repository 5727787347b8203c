"""Every service's database with its real migrations, and connections with each of its logins."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import asyncpg
from tests.databases import migrated

from testkit.postgres_server import Database, PostgresServer

PACKAGES = (
    "webhook_gateway",
    "checkout",
    "enrollment",
    "instructor_assignment",
    "milady_integration",
    "notifications",
    "reporting",
)
Login = Literal["owner", "worker", "api", "staff"]
LOGINS: tuple[Login, ...] = ("owner", "worker", "api", "staff")
REQUESTS: tuple[Login, ...] = ("api", "staff")
RUNNING: tuple[Login, ...] = ("worker", "api", "staff")
"""The logins whose passwords running processes have."""

DENIED = "42501"
"""SQLSTATE of a missing right, and of a policy."""

TABLES = """
    SELECT relname::text AS name, relispartition AS is_partition, relforcerowsecurity AND relrowsecurity AS is_forced
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1
"""


def prepared(server: PostgresServer) -> dict[str, Database]:
    return {
        package: migrated(server, f"stolen_{package}", str(importlib.import_module(package).__file__))
        for package in PACKAGES
    }


def url_of(database: Database, login: Login) -> str:
    return {
        "owner": database.owner_url,
        "worker": database.url,
        "api": database.api_url,
        "staff": database.staff_url,
    }[login]


@asynccontextmanager
async def connected(database: Database, login: Login) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(url_of(database, login))
    try:
        yield connection
    finally:
        await connection.close()


_RIGHTS = """
    SELECT relname::text AS name, array_agg(right_of) AS rights
    FROM pg_class,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS right_of
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
        AND CASE WHEN right_of IN ('DELETE', 'TRUNCATE', 'TRIGGER')
            THEN has_table_privilege($1, pg_class.oid, right_of)
            ELSE has_any_column_privilege($1, pg_class.oid, right_of) END
    GROUP BY relname
"""


async def rights_on_tables(connection: asyncpg.Connection[Any], login: str) -> dict[str, set[str]]:
    """table -> the login's rights on it or on one of its columns"""
    return {row["name"]: set(row["rights"]) for row in await connection.fetch(_RIGHTS, login)}


class Attempt:
    """Statements of one login, each in a transaction that is rolled back, with the settings that it gave itself."""

    def __init__(self, connection: asyncpg.Connection[Any], **settings: str) -> None:
        self._connection = connection
        self._settings = {f"app.{name}": value for name, value in settings.items()}

    async def rows(self, sql: str, *values: object) -> Sequence[Any]:
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            for name, value in self._settings.items():
                await self._connection.execute("SELECT set_config($1, $2, true)", name, value)
            found: list[Any] = await self._connection.fetch(sql, *values)
            return found
        finally:
            await transaction.rollback()

    async def error(self, sql: str, *values: object) -> str | None:
        """The SQLSTATE of the refusal; None if it was possible."""
        try:
            await self.rows(sql, *values)
        except asyncpg.PostgresError as error:
            return str(error.sqlstate)
        return None
