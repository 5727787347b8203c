"""From what is known to what is wanted."""

from __future__ import annotations

from kit.db.unit_of_work import UnitOfWork
from notifications import db, domain
from notifications.domain import Rules
from notifications.known import Known


async def consider(known: Known, rules: Rules, uow: UnitOfWork) -> None:
    """Wants every message that what is known calls for now. The facts are locked, so nobody else decides beside us."""
    found = domain.messages(known, rules)
    wanted = domain.wanted(found, await db.told(uow.db, domain.marks(found)))
    await db.want(uow, wanted, due={message.id: uow.now + rules.delay(message.hold) for message in wanted})
