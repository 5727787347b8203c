"""Jobs: calls to the outside world (mail, Stripe, the course provider), enqueued in a transaction and run after it.

A job is run at least once and recorded once. Its `key` is passed on as the idempotency key, so that another attempt
after a crash has no second effect outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import Column, DateTime, Integer, Table, Text, UniqueConstraint, Uuid, func, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import KIT_TABLES
from kit.messaging.outbox import wake
from kit.runtime.backoff import Backoff
from kit.runtime.trace import Cause

if TYPE_CHECKING:
    from kit.db.unit_of_work import UnitOfWork

jobs = Table(
    "jobs",
    KIT_TABLES,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("cause", JSONB),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("available_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("done_at", DateTime(timezone=True)),
    Column("failed_at", DateTime(timezone=True)),
    Column("last_error", Text),
    UniqueConstraint("kind", "key"),
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One call to make. `attempt` starts at 1."""

    id: UUID
    kind: str
    key: str
    payload: Mapping[str, Any]
    cause: Cause | None
    attempt: int


R = TypeVar("R")


class JobHandler(Protocol[R]):
    """Runs the jobs of one kind."""

    backoff: Backoff

    async def perform(self, job: Job) -> R:
        """Makes the call, with no transaction open. May be called again with the same key.

        Raise Permanent to give up; after any other error the job is retried.
        """
        ...

    async def record(self, job: Job, result: R, uow: UnitOfWork) -> None:
        """Records the result, in the transaction that marks the job as done."""
        ...

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        """Records the failure, in the transaction that marks the job as failed."""
        ...


async def put(
    db: AsyncConnection,
    *,
    kind: str,
    key: str,
    payload: Mapping[str, Any],
    cause: Cause | None,
    available_at: datetime | None = None,
) -> bool:
    """Adds the job to the caller's transaction. Returns False if this kind and key exists."""
    values: dict[str, Any] = {"kind": kind, "key": key, "payload": dict(payload)}
    if cause is not None:
        values["cause"] = asdict(cause)
    if available_at is not None:
        values["available_at"] = available_at
    added = await db.execute(insert(jobs).values(**values).on_conflict_do_nothing(index_elements=["kind", "key"]))
    return added.rowcount == 1


async def expedite(db: AsyncConnection, *, kind: str, key: str, due: datetime) -> None:
    """Makes a job due at `due` if it was due later.

    Only before the first attempt: afterward `available_at` is the end of a lease, or of a backoff.
    """
    not_started = (jobs.c.attempts == 0, jobs.c.available_at > due)
    changed = await db.execute(
        update(jobs).where(jobs.c.kind == kind, jobs.c.key == key, *not_started).values(available_at=due)
    )
    if changed.rowcount:
        await wake(db)
