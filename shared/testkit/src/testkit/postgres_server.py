"""A running PostgreSQL server: databases with an owner login and an API login each; stop and start for fault tests."""

import re
import secrets
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from testkit.engines import Engine, NotOurs, blocking

_LOCK = 5_242_884_991  # advisory lock: two test runs on one server must not create the same role concurrently


@dataclass(frozen=True)
class Database:
    """One database. `url` is its owner's login, `api_url` a login without ownership that migrations grant rights to."""

    name: str
    url: str
    api_url: str
    api_login: str


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
        """Idempotent. Creates login `name` (owner; no superuser, no BYPASSRLS) and login `name`_api (CONNECT, USAGE on
        schema public, nothing else). If they exist, the data stays and the passwords are changed (once per server
        object)."""
        if name not in self._databases:
            owner_password, api_password = secrets.token_hex(16), secrets.token_hex(16)
            blocking(lambda: self._create(name, owner_password, api_password))
            api = f"{name}_api"
            self._databases[name] = Database(
                name, self.url(name, name, owner_password), self.url(name, api, api_password), api
            )
        return self._databases[name]

    def drop_database(self, name: str) -> None:
        """Drops the database with both logins, even with open connections. Does nothing if it does not exist."""
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

    async def _create(self, name: str, owner_password: str, api_password: str) -> None:
        owner, api = _quoted(name), _quoted(f"{name}_api")
        async with _Connection(self.admin_url) as admin:
            await admin.execute("SELECT pg_advisory_lock($1)", _LOCK)
            for role, login, password in ((owner, name, owner_password), (api, f"{name}_api", api_password)):
                exists = await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", login)
                verb = "ALTER" if exists else "CREATE"
                await admin.execute(
                    f"{verb} ROLE {role} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD '{password}'"
                )
            if not await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                await admin.execute(f"CREATE DATABASE {owner} OWNER {owner}")
            await admin.execute(f"ALTER DATABASE {owner} OWNER TO {owner}")
            await admin.execute(f"REVOKE ALL ON DATABASE {owner} FROM PUBLIC")
            await admin.execute(f"GRANT CONNECT ON DATABASE {owner} TO {api}")
            inside = urlsplit(self.admin_url)._replace(path="/" + quote(name, safe=""))
            async with _Connection(urlunsplit(inside)) as db:
                await db.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")  # before 15, everybody may create in it
                await db.execute(f"GRANT ALL ON SCHEMA public TO {owner}")
                await db.execute(f"GRANT USAGE ON SCHEMA public TO {api}")

    async def _drop(self, name: str) -> None:
        async with _Connection(self.admin_url) as admin:
            await admin.execute("SELECT pg_advisory_lock($1)", _LOCK)
            await admin.execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")
            await admin.execute(f"DROP ROLE IF EXISTS {_quoted(f'{name}_api')}, {_quoted(name)}")


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
