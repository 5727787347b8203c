"""What reporting does about a break by itself: it asks for the events from which the missing part follows. Who has
published them publishes them again, and a service that has not received one does what it would have done.

Once for each break; whether it is repaired then is what the next run finds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row, Uuid, text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.audit import Act, Action, Actor
from contracts.event_requests import MOST_IDS
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.messaging import audit
from kit.messaging.event_requests import request_events
from reporting.invariant import Break
from reporting.topology import SERVICE

log = structlog.get_logger(__name__)

MOST_REQUESTS = 100
"""Breaks of one run whose events are asked for; the others follow in the next runs."""
ACTOR = Actor(id="schedule", role="service")

_REQUEST = text(
    """
    UPDATE invariant_breaks SET requested_at = now() WHERE id IN (
        SELECT id FROM invariant_breaks
        WHERE id = ANY (CAST(:ids AS uuid[])) AND ended_at IS NULL AND requested_at IS NULL
        ORDER BY created_at, id LIMIT :most
    )
    RETURNING id
    """
).columns(id=Uuid)


async def request(db: AsyncConnection, found: Mapping[UUID, Break], *, run_id: UUID) -> None:
    """Asks for the events of the breaks for which nobody has asked. In the transaction that records the run."""
    ids = [id for id, each in found.items() if each.event_ids]
    chosen = list(await db.scalars(_REQUEST, {"ids": ids, "most": MOST_REQUESTS})) if ids else []
    if not chosen:
        return
    uow = UnitOfWork(db=db, source=SERVICE, now=utc_now())
    wanted = sorted({event_id for id in chosen for event_id in found[id].event_ids})
    for first in range(0, len(wanted), MOST_IDS):
        await request_events(uow, wanted[first : first + MOST_IDS], cause=f"{SERVICE}/{run_id}/{first}")
    for id in chosen:
        each = found[id]
        await _record(uow, "event.requested", id, each.part, each.cause, each.purchase_id, each.student_id)
        log.info("events requested", part=each.part, purchase=str(each.purchase_id), cause=each.cause)


# Any: rows of text
async def record_repaired(db: AsyncConnection, ended: Sequence[Row[Any]]) -> None:
    """Of the breaks that have ended, those for which events were asked."""
    uow = UnitOfWork(db=db, source=SERVICE, now=utc_now())
    for each in ended:
        if each.requested_at is not None:
            await _record(uow, "break.repaired", each.id, each.part, each.cause, each.purchase_id, each.student_id)
            log.info("break repaired", part=each.part, purchase=str(each.purchase_id), cause=each.cause)


async def _record(
    uow: UnitOfWork,
    action: Action,
    id: UUID,
    part: str,
    cause: str,
    purchase_id: UUID | None,
    student_id: UUID | None,
) -> None:
    about = {"part": part, "cause": cause}
    act = Act.of(action, "invariant_break", id, purchase_id=purchase_id, student_id=student_id, after=about)
    await audit.publish(uow, act, ACTOR)
