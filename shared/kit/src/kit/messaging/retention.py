"""Retention: creates partitions ahead and gives rows an end.

Nothing that is not done is ever deleted: no partition with a message that is not published, no job that is pending.
Rows are deleted by index and in small transactions, so that a first run over a large table holds up nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import text

from kit.db.database import Database
from kit.messaging.wakeup import REFRESH_SECONDS
from kit.runtime.failures import describe
from kit.runtime.settings import RetentionSettings

log = structlog.get_logger(__name__)

ADOPT_SECONDS = 6.0
EXPIRE_SECONDS = 3600.0
CHUNK = 1_000


@dataclass(frozen=True, kw_only=True)
class Expiry:
    """Rows of `table` end `keep` after `column`, which has an index.

    `ending`: what happens to them, DELETE by default. `condition`: only to these.
    """

    table: str
    column: str
    keep: timedelta
    condition: str = "true"
    ending: str = ""

    @property
    def statement(self) -> str:
        return f"""
            {self.ending or f"DELETE FROM {self.table}"} WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM {self.table}
                WHERE {self.column} < now() - CAST(:keep AS interval) AND {self.condition}
                ORDER BY {self.column} LIMIT :chunk FOR UPDATE SKIP LOCKED
            ))
        """  # noqa: S608  # names from the code


# What the previous version's processes have added to `outbox`, and not published.
ADOPT = """
    WITH due AS MATERIALIZED (
        SELECT id FROM outbox WHERE published_at IS NULL ORDER BY available_at, id LIMIT :chunk FOR UPDATE SKIP LOCKED
    ), adopted AS (
        DELETE FROM outbox WHERE id = ANY (ARRAY(SELECT id FROM due)) RETURNING outbox.*
    ), message AS (
        INSERT INTO outbox_messages (message_key, exchange, routing_key, headers, body, mandatory)
        SELECT message_key, exchange, routing_key, headers, body, mandatory FROM adopted ORDER BY id
        ON CONFLICT (message_key, month) DO NOTHING
        RETURNING id, month, message_key
    )
    INSERT INTO outbox_due (id, month, available_at, attempts, last_error)
    SELECT message.id, month, available_at, attempts, last_error FROM message JOIN adopted USING (message_key)
"""
MAINTAIN = "SELECT maintain_outbox_messages(CAST(:outbox AS interval)), maintain_inbox(CAST(:inbox AS interval))"


def expiries(settings: RetentionSettings) -> list[Expiry]:
    """The rows of the kit's tables that end."""
    payloads = timedelta(days=settings.keep_job_payloads_days)
    finished = timedelta(days=settings.keep_jobs_days)
    return [
        Expiry(table="outbox", column="published_at", keep=timedelta(days=7)),
        Expiry(table="idempotency_keys", column="created_at", keep=timedelta(hours=settings.keep_idempotency_hours)),
        Expiry(
            table="jobs",
            column="done_at",
            keep=payloads,
            condition="done_at IS NOT NULL AND payload <> '{}'",
            ending="UPDATE jobs SET payload = '{}'",
        ),
        Expiry(table="jobs", column="done_at", keep=finished),
        Expiry(table="jobs", column="failed_at", keep=finished),
        Expiry(table="idle_workers", column="since", keep=timedelta(seconds=5 * REFRESH_SECONDS)),
    ]


class Retention:
    """Runs in every relay. Several may run concurrently."""

    def __init__(self, database: Database, settings: RetentionSettings, more: Sequence[Expiry] = ()) -> None:
        self._database = database
        self._settings = settings
        self.expiries = [*expiries(settings), *more]

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set."""
        stopped = asyncio.create_task(stop.wait())
        expired = -EXPIRE_SECONDS
        while not stop.is_set():
            try:
                if time.monotonic() - expired >= EXPIRE_SECONDS:
                    expired = time.monotonic()
                    await self.expire()
                await self.adopt()
            except Exception as error:
                log.warning("retention failed", error=describe(error))
            await asyncio.wait({stopped}, timeout=ADOPT_SECONDS)

    async def expire(self) -> None:
        """Partitions first: without the next month's, messages would go to the default partition."""
        keep = {
            "outbox": timedelta(days=self._settings.keep_outbox_days),
            "inbox": timedelta(days=self._settings.keep_inbox_days),
        }
        async with self._database.transaction() as db:
            await db.execute(text(MAINTAIN), keep)
        for expiry in self.expiries:
            while True:
                async with self._database.transaction() as db:
                    ended = await db.execute(text(expiry.statement), {"keep": expiry.keep, "chunk": CHUNK})
                if ended.rowcount < CHUNK:
                    break

    async def adopt(self) -> None:
        """Takes over the messages that the previous version's processes have added to `outbox`."""
        async with self._database.transaction() as db:
            await db.execute(text(ADOPT), {"chunk": CHUNK})
