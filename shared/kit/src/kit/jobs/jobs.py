"""Effects on the outside world (mail, Stripe, the course provider): wanted in a transaction, performed after it.

An effect is performed at least once and recorded once; its `key` goes along to the outside as the idempotency key,
so that a second attempt after a crash is the same effect there too.
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

from kit.db.database import PLUMBING
from kit.messaging.outbox import wake
from kit.runtime.backoff import Backoff
from kit.runtime.trace import Cause

if TYPE_CHECKING:
    from kit.db.unit_of_work import UnitOfWork

jobs = Table(
    "jobs",
    PLUMBING,
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
    """What is to be done outside. `attempt` counts from 1."""

    id: UUID
    kind: str
    key: str
    payload: Mapping[str, Any]
    cause: Cause | None
    attempt: int


R = TypeVar("R")


class JobHandler(Protocol[R]):
    """How one kind of effect is done."""

    backoff: Backoff

    async def perform(self, job: Job) -> R:
        """Acts on the outside world, with no transaction open. May be called again with the same key.

        Raise Transient (or any error that is not Permanent) to be tried again later, Permanent to give up.
        """
        ...

    async def record(self, job: Job, result: R, uow: UnitOfWork) -> None:
        """Writes down what came of it, in the transaction that also marks the effect as done."""
        ...

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        """Writes down that it will not be done, in the transaction that also marks the effect as failed."""
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
    """Adds the effect to the caller's transaction. False when this kind and key is there already."""
    values: dict[str, Any] = {"kind": kind, "key": key, "payload": dict(payload)}
    if cause is not None:
        values["cause"] = asdict(cause)
    if available_at is not None:
        values["available_at"] = available_at
    added = await db.execute(insert(jobs).values(**values).on_conflict_do_nothing(index_elements=["kind", "key"]))
    return added.rowcount == 1


async def expedite(db: AsyncConnection, *, kind: str, key: str, due: datetime) -> None:
    """Makes an effect due at `due` if it was to wait longer.

    Only what nobody has begun with: an attempt under way has a lease, which is not ours to shorten.
    """
    untouched = (jobs.c.attempts == 0, jobs.c.available_at > due)
    changed = await db.execute(
        update(jobs).where(jobs.c.kind == kind, jobs.c.key == key, *untouched).values(available_at=due)
    )
    if changed.rowcount:
        await wake(db)
