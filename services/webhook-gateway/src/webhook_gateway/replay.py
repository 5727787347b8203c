"""Publishes journaled events again: `python -m webhook_gateway.replay evt_123 …` or `--since 2026-11-01[T10:00Z]`.

The published events have the same ids as the first time: a consumer that has processed them ignores them, and one that
missed them catches up. The relay does the publishing: when no live event is due, and at most REPLAYS_PER_SECOND.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import ValidationError
from sqlalchemy import ColumnElement, and_, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.audit import Act, Actor
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.messaging import audit
from kit.runtime.service import database_of
from webhook_gateway.settings import WorkerSettings
from webhook_gateway.tables import Lane, journal_due, journal_events
from webhook_gateway.topology import SERVICE


class TooMany(ValueError):
    """More events are selected than may be replayed at once. `count`: at least so many."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} events are selected")
        self.count = count


async def replay(
    database: Database,
    *,
    event_ids: Sequence[str] | None = None,
    since: datetime | None = None,
    types: Sequence[str] = (),
    most: int | None = None,
    actor: Actor | None = None,
    address: str | None = None,
) -> int:
    """Makes events due in the replay lane: the named ones, or all; of them those that were received since then and are
    of these types (Stripe's). Returns how many. `actor`: for the audit trail.

    Raises ValueError if neither events nor a time are given, and TooMany, before anything is done, if more than `most`
    are selected.
    """
    if event_ids is None and since is None:
        raise ValueError("name events, or a time")
    conditions: list[ColumnElement[bool]] = []
    if event_ids is not None:
        conditions.append(journal_events.c.event_id.in_(event_ids))
    if since is not None:
        conditions.append(journal_events.c.month >= since.astimezone(UTC).date().replace(day=1))
        conditions.append(journal_events.c.received_at >= since)
    if types:
        conditions.append(journal_events.c.type.in_(types))
    selected = and_(*conditions)
    async with database.transaction() as db:
        if most is not None:
            counted = select(journal_events.c.event_id).where(selected).limit(most + 1).subquery()
            count = await db.scalar(select(func.count()).select_from(counted)) or 0
            if count > most:
                raise TooMany(count)
        count = await _make_due(db, selected, Lane.REPLAY)
        if actor is not None:
            named = event_ids or ()
            what = named[0] if len(named) == 1 else "journal"
            asked = {"since": since, "types": list(types), "events": list(named[:100]), "count": count}
            act = Act.of("event.replayed", "stripe_event", what, references=named[:100], after=asked)
            await audit.publish(UnitOfWork(db=db, source=SERVICE, now=utc_now()), act, actor, address=address)
        return count


async def republish(db: AsyncConnection, event_ids: Sequence[str], lane: Lane = Lane.LIVE) -> int:
    """Makes the events due, in the caller's transaction. Returns how many."""
    return await _make_due(db, journal_events.c.event_id.in_(event_ids), lane) if event_ids else 0


async def _make_due(db: AsyncConnection, selected: ColumnElement[bool], lane: Lane) -> int:
    """Replayed events are published in the order in which they were received. One that is due already is tried at
    once."""
    available_at = func.now() if lane is Lane.LIVE else journal_events.c.received_at
    events = (
        select(journal_events.c.event_id, journal_events.c.month, literal(lane), available_at)
        .where(selected)
        .order_by(journal_events.c.event_id)
    )
    new = insert(journal_due).from_select(["event_id", "month", "lane", "available_at"], events)
    due = new.on_conflict_do_update(
        index_elements=[journal_due.c.event_id],
        set_={
            "lane": func.least(journal_due.c.lane, new.excluded.lane),  # 'live' if one of them is
            "available_at": func.least(journal_due.c.available_at, func.now()),
            "attempts": 0,
        },
    )
    return (await db.execute(due)).rowcount


def _timestamp(text: str) -> datetime:
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


async def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m webhook_gateway.replay", description=__doc__)
    parser.add_argument("event_ids", nargs="*")
    parser.add_argument("--since", type=_timestamp)
    parser.add_argument("--type", action="append", default=[], help="only of this type, such as charge.refunded")
    parser.add_argument("--operator", metavar="NAME", help="who you are, for the audit trail; default: this user")
    arguments = parser.parse_args()
    if not arguments.event_ids and arguments.since is None:
        parser.error("specify event ids or --since")
    try:
        database = database_of(WorkerSettings())
    except ValidationError as error:
        parser.error("; ".join(f"{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors()))
    try:
        actor = audit.operator(arguments.operator)
        named = arguments.event_ids or None
        count = await replay(database, event_ids=named, since=arguments.since, types=arguments.type, actor=actor)
    finally:
        await database.close()
    sys.stdout.write(f"{count} events will be published again\n")
    return 0 if count else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
