"""What the tests of the comparison of objects look at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from contracts.reconciliation import (
    ReconciliationCompleted,
    ReconciliationDifferenceFound,
    ReconciliationDifferenceResolved,
)
from kit.db.database import Database
from kit.messaging.outbox import outbox_messages
from webhook_gateway.object_reconciler import ObjectReconciler
from webhook_gateway.tables import differences

MONTH_AGO = datetime.now(UTC) - timedelta(days=30)
Build = Callable[..., ObjectReconciler]
Deliver = Callable[..., Awaitable[int]]


async def published(database: Database) -> list[Any]:
    types = ReconciliationDifferenceFound, ReconciliationDifferenceResolved, ReconciliationCompleted
    by_type = {each.type: each for each in types}
    async with database.transaction() as db:
        rows = await db.execute(select(outbox_messages).order_by(outbox_messages.c.id))
        return [by_type[row.routing_key].model_validate_json(row.body) for row in rows if row.routing_key in by_type]


async def rows(database: Database) -> list[Any]:
    async with database.transaction() as db:
        return list(await db.execute(select(differences).order_by(differences.c.object_id, differences.c.field)))
