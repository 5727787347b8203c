"""PostgreSQL: engine, transactions, row-level security, and what its errors mean."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import MetaData, event, func, select, text
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from kit.db.row_security import own_rows as own_rows  # revisions 0001 and 0002 import it from here
from kit.runtime.failures import Misconfigured, Transient, sqlstate

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


CLOCKS_APART_SECONDS = 30.0
CASE_MANAGER = "case_manager"
STAFF = frozenset({CASE_MANAGER, "specialist", "admin"})
"""Roles whose requests use the staff login."""
MACHINE = "machine"
"""The role of other systems. They read what admins read, where a scope admits them."""


def new_metadata() -> MetaData:
    return MetaData(naming_convention=NAMING)


KIT_TABLES = new_metadata()
"""Metadata of the kit's own tables. Every service's database has all of them."""


def create_engine(url: str, *, pool_size: int = 10) -> AsyncEngine:
    """An engine that keeps parameters out of errors (they may be personal data) and detects dead connections.

    A connection that the server has closed is replaced when it is taken from the pool. That costs no round trip, unlike
    `pool_pre_ping`: the driver has noticed it. One that dies later fails its statement, and `is_down` says so.
    """
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        hide_parameters=True,
        connect_args={"timeout": 5, "command_timeout": 30, "server_settings": {"timezone": "UTC"}},
    )
    event.listen(engine.sync_engine, "checkout", _replace_closed)
    event.listen(engine.sync_engine, "handle_error", _drop_read_only)
    return engine


def _replace_closed(connection: Any, _: Any, __: Any) -> None:
    if connection.driver_connection.is_closed():
        raise DisconnectionError("closed by the server")


def _drop_read_only(context: ExceptionContext) -> None:
    """After a failover that keeps the connections open, none of the pool leads to the primary: drop all of them.

    SQLAlchemy replaces every connection that is older than a disconnect (`invalidate_pool_on_disconnect`).
    """
    if sqlstate(context.original_exception) == READ_ONLY:
        context.is_disconnect = True


class Database:
    """`staff_url`: the login for requests of staff, who share the `pool_size` connections with everybody else: they
    get a quarter of them, since staff are few and their requests are long."""

    def __init__(self, url: str, *, pool_size: int = 10, staff_url: str | None = None) -> None:
        self.url = url
        staff_size = max(1, pool_size // 4) if staff_url is not None else 0
        self.engine = create_engine(url, pool_size=max(1, pool_size - staff_size))
        self._staff = self.engine if staff_url is None else create_engine(staff_url, pool_size=staff_size)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        async with _transaction(self.engine) as connection:
            yield connection

    @asynccontextmanager
    async def transaction_of(self, *, student_id: UUID | None, role: str) -> AsyncIterator[AsyncConnection]:
        """A transaction in which row-level security shows only the caller's rows (see `row_security`).

        `student_id`: the caller's id, also if the caller is no student. Staff have a login of their own: for the other
        one, no setting widens what it sees. Case managers see the students of their caseload (see `caseload`).
        """
        engine = self._staff if role in STAFF or role == MACHINE else self.engine
        async with _transaction(engine) as connection:
            if role == MACHINE:
                await connection.execute(text("SET TRANSACTION READ ONLY"))
            await connection.execute(
                select(
                    func.set_config("app.student_id", str(student_id or ""), True),
                    func.set_config("app.role", "admin" if role == MACHINE else role, True),
                    func.set_config("app.case_manager_id", str(student_id or "") if role == CASE_MANAGER else "", True),
                )
            )
            yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that reads everything as it was at its first statement. It locks no row, and writes none."""
        async with self.engine.connect() as connection:
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            await connection.execution_options(**options)
            async with connection.begin():
                yield connection

    async def ping(self) -> None:
        """Raises unless the database can be written to."""
        for engine in self.engines.values():
            async with engine.connect() as connection:
                read_only = await connection.scalar(text("SHOW transaction_read_only"))  # also "on" while in recovery
            if read_only == "on":
                await engine.dispose()
                raise Transient("the database is read-only")

    async def check_clock(self) -> None:
        """Raises Misconfigured if this machine's clock and the database's differ: due times are compared with both."""
        async with self.engine.connect() as connection:
            sent = datetime.now(UTC)
            theirs = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
        apart = abs((theirs - sent).total_seconds())
        if apart > CLOCKS_APART_SECONDS:
            raise Misconfigured(f"the database's clock is {apart:.0f} s away from this machine's")

    @property
    def engines(self) -> dict[str, AsyncEngine]:
        """By whose requests they serve; "" for the only one, or for all who are not staff."""
        return {"": self.engine} if self._staff is self.engine else {"": self.engine, "staff": self._staff}

    async def close(self) -> None:
        await self.engine.dispose()
        await self._staff.dispose()


_AFTER_COMMIT = "after_commit"


@asynccontextmanager
async def _transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    acts: list[Callable[[], None]] = []
    async with engine.begin() as connection:
        connection.info[_AFTER_COMMIT] = acts
        yield connection
    for act in acts:
        act()


def after_commit(connection: AsyncConnection, act: Callable[[], None]) -> None:
    """Calls `act` when the transaction is committed, and not if it is rolled back. For what cannot fail: logs.

    Does nothing in a transaction that no Database has opened: nobody would know of its commit."""
    connection.info.get(_AFTER_COMMIT, []).append(act)


READ_ONLY = "25006"
LOCK_NOT_AVAILABLE = "55P03"

# connection lost; out of connections, memory or disk; shutting down or starting; too slow; waited too long for a lock
_AWAY = ("08", "53", "57P0", "57014", LOCK_NOT_AVAILABLE)


def is_down(error: BaseException) -> bool:
    """Whether the database was unreachable or dropped the connection, so that nothing was decided."""
    if isinstance(error, (OSError, PoolTimeout, TimeoutError)):
        return True
    if isinstance(error, (OperationalError, InterfaceError)):
        return True
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or (sqlstate(error) or "").startswith(_AWAY)


def lost_a_race(error: BaseException) -> bool:
    """Whether the database aborted a deadlock or a serialization conflict: the same transaction can be repeated."""
    return isinstance(error, DBAPIError) and sqlstate(error) in ("40P01", "40001")


def waited_for_a_lock(error: BaseException) -> bool:
    """Whether another transaction held a lock for longer than `lock_timeout`."""
    return isinstance(error, DBAPIError) and sqlstate(error) == LOCK_NOT_AVAILABLE


def cannot_be_stored(error: BaseException) -> bool:
    """Whether a value is invalid for the database, such as text with a NUL: the caller's fault."""
    return isinstance(error, DBAPIError) and (sqlstate(error) or "").startswith("22")


def row_dict(row: Any) -> dict[str, Any]:
    """A result row by column name."""
    return dict(row._mapping)
