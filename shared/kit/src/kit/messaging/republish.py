"""Publishes the events of a service again, from its outbox: a command for operators.

    python -m kit.messaging.republish --since 2026-11-01T08:00 [--type purchase.ended.v1 ...]

For consumers whose database was restored from a backup. It has the settings of the service's relay, which does the
publishing. The events have the same ids as the first time, so that a consumer that has processed them ignores them;
the outbox has them for KEEP_OUTBOX_DAYS. Recorded in the audit trail with the operating system's user, or
`--operator NAME`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.audit import Act, Actor
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.messaging import audit
from kit.messaging.outbox import EVENTS_EXCHANGE
from kit.messaging.publishers import is_service, login_of
from kit.runtime.service import WorkerSettings, database_of

_MAKE_DUE = text(
    """
    INSERT INTO outbox_due (id, month)
    SELECT id, month FROM outbox_messages
    WHERE exchange = :exchange AND created_at >= :since AND month >= date_trunc('month', CAST(:since AS timestamptz))
        AND (CAST(:types AS text[]) IS NULL OR routing_key = ANY (CAST(:types AS text[])))
    ORDER BY id
    ON CONFLICT DO NOTHING
    """
)


async def republish(
    database: Database, *, service: str, since: datetime, types: Sequence[str] = (), actor: Actor | None = None
) -> int:
    """Makes the events that were written since then, of these types or of all, due. Returns how many were not. `actor`:
    for the audit trail."""
    async with database.transaction() as db:
        count = await _make_due(db, since, types)
        if actor is not None:
            asked = {"since": since, "types": list(types), "count": count}
            act = Act.of("event.replayed", "outbox", service, after=asked)
            await audit.publish(UnitOfWork(db=db, source=service, now=utc_now()), act, actor)
        return count


async def _make_due(db: AsyncConnection, since: datetime, types: Sequence[str]) -> int:
    wanted = {"exchange": EVENTS_EXCHANGE, "since": since, "types": list(types) or None}
    return (await db.execute(_MAKE_DUE, wanted)).rowcount


def _time(given: str) -> datetime:
    parsed = datetime.fromisoformat(given)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


async def _main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kit.messaging.republish",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--since", type=_time, required=True, help="when they were written, ISO 8601")
    parser.add_argument("--type", action="append", default=[], help="only of this type; all if not given")
    parser.add_argument("--operator", metavar="NAME", help="who you are, for the audit trail")
    arguments = parser.parse_args()
    try:
        settings = WorkerSettings()
    except ValidationError as error:
        parser.error("; ".join(f"{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors()))
    service = login_of(settings.amqp_url.get_secret_value())
    if not is_service(service):
        parser.error("AMQP_URL has no service's login: run it beside the relay of the service")
    database = database_of(settings)
    try:
        actor = audit.operator(arguments.operator)
        count = await republish(database, service=service, since=arguments.since, types=arguments.type, actor=actor)
    finally:
        await database.close()
    sys.stdout.write(f"{service}: {count} events will be published again\n")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
