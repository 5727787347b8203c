"""Jobs: calls to the outside world (mail, Stripe, the course provider), enqueued in a transaction and run after it.

A job is run at least once and recorded once. Its `key` is passed on as the idempotency key, so that another attempt
after a crash has no second effect outside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import Column, DateTime, Integer, Table, Text, UniqueConstraint, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import KIT_TABLES
from kit.messaging.outbox import wake
from kit.runtime.backoff import Backoff
from kit.runtime.trace import Cause

if TYPE_CHECKING:
    from kit.db.unit_of_work import UnitOfWork

CHANNEL = "jobs"
"""NOTIFY channel: rows were added to `jobs`."""

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
    Column("lease", Uuid),
    UniqueConstraint("kind", "key"),
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One call to make. `attempt` starts at 1. A worker that has lost the `lease` records nothing."""

    id: UUID
    kind: str
    key: str
    payload: Mapping[str, Any]
    cause: Cause | None
    attempt: int
    lease: UUID | None = None


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


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job to enqueue, once per `kind` and `key`. `available_at` None: at once."""

    kind: str
    key: str
    payload: Mapping[str, Any]
    cause: Cause | None = None
    available_at: datetime | None = None


# In the order of their keys, so that two transactions that enqueue the same jobs do not wait for each other.
_PUT_ALL = text(
    """
    INSERT INTO jobs (kind, key, payload, cause, available_at)
    SELECT kind, key, CAST(payload AS jsonb), CAST(cause AS jsonb), coalesce(available_at, now())
    FROM unnest(
        CAST(:kinds AS text[]), CAST(:keys AS text[]), CAST(:payloads AS text[]), CAST(:causes AS text[]),
        CAST(:available AS timestamptz[])
    ) AS new (kind, key, payload, cause, available_at)
    ORDER BY kind, key
    ON CONFLICT (kind, key) DO NOTHING
    RETURNING kind, key
    """
)


async def put_all(db: AsyncConnection, new: Sequence[NewJob]) -> frozenset[tuple[str, str]]:
    """Adds the jobs to the caller's transaction, in one statement. Returns (kind, key) of those that did not exist."""
    if not new:
        return frozenset()
    added = await db.execute(
        _PUT_ALL,
        {
            "kinds": [job.kind for job in new],
            "keys": [job.key for job in new],
            "payloads": [json.dumps(dict(job.payload)) for job in new],
            "causes": [json.dumps(asdict(job.cause)) if job.cause else None for job in new],
            "available": [job.available_at for job in new],
        },
    )
    return frozenset((row.kind, row.key) for row in added)


# Locked in the order of their keys, one look-up by index for each.
_EXPEDITE_ALL = text(
    """
    UPDATE jobs SET available_at = due FROM (
        SELECT found.id, needed.due
        FROM (
            SELECT key, due FROM unnest(CAST(:keys AS text[]), CAST(:due AS timestamptz[])) AS new (key, due)
            ORDER BY key
        ) AS needed
        CROSS JOIN LATERAL (
            SELECT id FROM jobs
            WHERE kind = :kind AND key = needed.key AND attempts = 0 AND available_at > needed.due
            FOR UPDATE
        ) AS found
    ) AS later
    WHERE jobs.id = later.id
    """
)


async def expedite_all(db: AsyncConnection, *, kind: str, due: Mapping[str, datetime]) -> None:
    """Makes jobs due at the time given for their key, if they were due later.

    Only before the first attempt: afterward `available_at` is the end of a lease, or of a backoff.
    """
    if not due:
        return
    changed = await db.execute(_EXPEDITE_ALL, {"kind": kind, "keys": list(due), "due": list(due.values())})
    if changed.rowcount:
        await wake(db, CHANNEL)
