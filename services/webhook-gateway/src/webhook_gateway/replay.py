"""Publishes journaled events again: `python -m webhook_gateway.replay evt_123 …` or `--since 2026-11-01[T10:00Z]`.

The published events have the same ids as the first time: a consumer that has processed them ignores them, and one that
missed them catches up. The relay does the publishing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import ValidationError
from sqlalchemy import ColumnElement, func, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import Database
from kit.messaging.outbox import wake
from kit.runtime.service import database_of
from webhook_gateway.settings import WorkerSettings
from webhook_gateway.tables import journal


async def replay(database: Database, *, event_ids: Sequence[str] = (), since: datetime | None = None) -> int:
    """Marks the named events, or all received since then, as unpublished. Returns how many."""
    async with database.transaction() as db:
        if since is None:
            return await republish(db, event_ids)
        return await _reset(db, journal.c.received_at >= since)


async def republish(db: AsyncConnection, event_ids: Sequence[str]) -> int:
    """Marks the events as unpublished, in the caller's transaction. Returns how many."""
    return await _reset(db, journal.c.event_id.in_(event_ids)) if event_ids else 0


async def _reset(db: AsyncConnection, selected: ColumnElement[bool]) -> int:
    reset = update(journal).values(published_at=None, available_at=func.now(), attempts=0)
    count = (await db.execute(reset.where(selected))).rowcount
    await wake(db)
    return count


def _timestamp(text: str) -> datetime:
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


async def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m webhook_gateway.replay", description=__doc__)
    parser.add_argument("event_ids", nargs="*")
    parser.add_argument("--since", type=_timestamp)
    arguments = parser.parse_args()
    if not arguments.event_ids and arguments.since is None:
        parser.error("specify event ids or --since")
    try:
        database = database_of(WorkerSettings())
    except ValidationError as error:
        parser.error("; ".join(f"{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors()))
    try:
        count = await replay(database, event_ids=arguments.event_ids, since=arguments.since)
    finally:
        await database.close()
    sys.stdout.write(f"{count} events will be published again\n")
    return 0 if count else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
