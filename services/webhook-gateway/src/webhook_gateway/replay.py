"""Publishes journaled events again: `python -m webhook_gateway.replay evt_123 …` or `--since 2026-11-01[T10:00Z]`.

What comes out has the same event ids as the first time, so a consumer that has heard it does nothing, and one that was
not there yet catches up. The relay does the publishing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import ValidationError
from sqlalchemy import func, update

from kit.db.database import Database
from kit.messaging.outbox import wake
from kit.runtime.service import database_of
from webhook_gateway.settings import RelaySettings
from webhook_gateway.tables import journal


async def replay(database: Database, *, event_ids: Sequence[str] = (), since: datetime | None = None) -> int:
    """Makes the named events, or all received since then, due again; how many there are."""
    again = update(journal).values(published_at=None, available_at=func.now(), attempts=0)
    chosen = journal.c.received_at >= since if since is not None else journal.c.event_id.in_(event_ids)
    async with database.transaction() as db:
        count = (await db.execute(again.where(chosen))).rowcount
        await wake(db)
    return count


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m webhook_gateway.replay", description=__doc__)
    parser.add_argument("event_ids", nargs="*")
    parser.add_argument("--since", type=_moment)
    arguments = parser.parse_args()
    if not arguments.event_ids and arguments.since is None:
        parser.error("name events, or say --since")
    try:
        database = database_of(RelaySettings())
    except ValidationError as error:
        parser.error("; ".join(f"{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors()))
    try:
        count = await replay(database, event_ids=arguments.event_ids, since=arguments.since)
    finally:
        await database.close()
    sys.stdout.write(f"{count} events are due again\n")
    return 0 if count else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
