"""`verify` in a database in which other tests have deleted facts, and left rows behind."""

from __future__ import annotations

from uuid import uuid4

from tests.checkout.service import Service

from checkout.main import comparisons
from contracts.audit import Actor
from kit.messaging.verification import Repair, Report, verify
from ledger.policy import DEFAULT_POLICY

_FORGET_LOST_EVENTS = (
    "DELETE FROM inbox WHERE NOT EXISTS (SELECT FROM facts WHERE facts.event_id = inbox.event_id) RETURNING 1",
    "DELETE FROM repairs WHERE table_name = 'facts' RETURNING 1",
)


async def verify_rows(service: Service, *, repair: bool) -> Report:
    """Without what other tests have deleted: as long as facts or their keys are missing, no row is repaired."""
    for statement in _FORGET_LOST_EVENTS:
        await service.rows(statement)
    facts, *rows = comparisons(DEFAULT_POLICY)
    asked = Repair(verification_id=uuid4(), actor=Actor(id="ada", role="operator")) if repair else None
    if asked is not None:
        await verify(service.database, [facts], service="checkout", repair=asked)
    return await verify(service.database, [facts, *rows], service="checkout", repair=asked)
