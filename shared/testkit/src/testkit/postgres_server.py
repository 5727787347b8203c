"""A running PostgreSQL server: databases with four logins each, as deployed; stop and start for fault tests."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from testkit.engines import Engine, NotOurs, blocking

_LOCK = 5_242_884_991  # advisory lock: two test runs on one server must not create the same role concurrently


_DEPLOYED = Path(__file__).resolve().parents[4] / "deploy/postgres"
_LOGINS = {"owner": "_owner", "worker": "", "api": "_api", "staff": "_staff"}
"""Login -> what follows the database's name in its name; as in deploy/postgres/logins.sql."""


@dataclass(frozen=True)
class Database:
    """One database and its logins. `owner_url` is for migrations, `url` for consumers and relay, `api_url` for the
    requests of students and the public, `staff_url` for the requests of staff."""

    name: str
    owner_url: str
    url: str
    api_url: str
    staff_url: str

    @property
    def api_login(self) -> str:
        return f"{self.name}_api"

    @property
    def staff_login(self) -> str:
        return f"{self.name}_staff"


class PostgresServer:
    """Created by `servers.postgres()`. `admin_url` is a superuser's, `rung` says where the server came from."""

    def __init__(self, *, admin_url: str, rung: str, engine: Engine | None) -> None:
        self.admin_url = plain(admin_url)
        self.rung = rung
        self._engine = engine
        self._databases: dict[str, Database] = {}

    def url(self, database: str, user: str, password: str) -> str:
        """The URL of a login to a database on this server."""
        admin = urlsplit(self.admin_url)
        where = admin.netloc.rpartition("@")[2]
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@{where}"
        return urlunsplit((admin.scheme, login, "/" + quote(database, safe=""), admin.query, ""))

    def create_database(self, name: str) -> Database:
        """Idempotent. Creates the logins (no superuser, no BYPASSRLS) and their rights as `deploy/postgres` does. If
        they exist, the data stays and the passwords are changed (once per server object)."""
        if name not in self._databases:
            passwords = {login: secrets.token_hex(16) for login in _LOGINS}
            blocking(lambda: self._create(name, passwords))
            owner, worker, api, staff = (
                self.url(name, name + suffix, passwords[login]) for login, suffix in _LOGINS.items()
            )
            self._databases[name] = Database(name, owner, worker, api, staff)
        return self._databases[name]

    def drop_database(self, name: str) -> None:
        """Drops the database with its logins, even with open connections. Does nothing if it does not exist."""
        blocking(lambda: self._drop(name))
        self._databases.pop(name, None)

    def stop(self) -> None:
        """Fast shutdown: clients are disconnected, nothing committed is lost. Raises NotOurs on rung a."""
        self._own().stop()

    def kill(self) -> None:
        """SIGKILL. Committed data is there after `start`. Raises NotOurs on rung a."""
        self._own().kill()

    def start(self) -> None:
        """Restarts after stop or kill with the same port and data; returns when it accepts connections."""
        self._own().start()

    def _own(self) -> Engine:
        if self._engine is None:
            raise NotOurs(f"this PostgreSQL is {self.rung}: it cannot be stopped or started from here")
        return self._engine

    async def _create(self, name: str, passwords: Mapping[str, str]) -> None:
        async with _Connection(self.admin_url) as admin:
            await admin.execute("SELECT pg_advisory_lock($1)", _LOCK)
            await admin.execute("SELECT set_config('bursar.service', $1, false)", name)
            for login, password in passwords.items():
                await admin.execute("SELECT set_config('bursar.' || $1 || '_password', $2, false)", login, password)
            await admin.execute((_DEPLOYED / "logins.sql").read_text(encoding="utf-8"))
            if not await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                await admin.execute(f"CREATE DATABASE {_quoted(name)} OWNER {_quoted(f'{name}_owner')}")
            inside = urlsplit(self.admin_url)._replace(path="/" + quote(name, safe=""))
            async with _Connection(urlunsplit(inside)) as db:
                await db.execute((_DEPLOYED / "rights.sql").read_text(encoding="utf-8"))

    async def _drop(self, name: str) -> None:
        async with _Connection(self.admin_url) as admin:
            await admin.execute("SELECT pg_advisory_lock($1)", _LOCK)
            await admin.execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")
            logins = ", ".join(_quoted(name + suffix) for suffix in _LOGINS.values())
            await admin.execute(f"DROP ROLE IF EXISTS {logins}")


def plain(url: str) -> str:
    """The URL without a driver in its scheme: postgresql+asyncpg:// and postgres:// become postgresql://."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url)


async def version_of(admin_url: str) -> str:
    """server_version ('17.6'). Also proves that the server accepts this login."""
    async with _Connection(admin_url) as admin:
        return str(await admin.fetchval("SHOW server_version")).split(" ")[0]


class _Connection:
    """One asyncpg connection, closed at the end; asyncpg's own context managers need a pool."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> "asyncpg.Connection[asyncpg.Record]":
        self._connection = await asyncpg.connect(self._url, timeout=10)
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close(timeout=5)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
