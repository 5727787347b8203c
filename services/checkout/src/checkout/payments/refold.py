"""Brings the rows of payments, refunds and disputes in line with their events again, after a changed projection."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.payments.event_handlers import PaymentsMerged, refresh_payments
from checkout.payments.tables import disputes, payments, refunds
from checkout.purchases.repository import set_actor
from contracts.envelope import Envelope
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.refold import Apply
from ledger.facts import fold

ACTOR = "refold"


def payment_rows(on_merged: PaymentsMerged) -> Apply:
    """Only these rows: nothing is charged, returned, ended or issued because of it."""

    async def apply(uow: UnitOfWork, events: Sequence[Envelope[Any]]) -> Sequence[object]:
        await set_actor(uow.db, ACTOR)
        named = {purchase.id for purchase in fold({event.id: event.data for event in events}) if purchase.id}
        purchase_ids = sorted(named, key=lambda id: id.hex)  # as consumers lock them
        for purchase_id in purchase_ids:
            await refresh_payments(uow, purchase_id, on_merged=on_merged)
        return await _rows_changed_at(uow.db, purchase_ids, uow.now)

    return apply


async def _rows_changed_at(db: AsyncConnection, purchase_ids: Collection[UUID], at: datetime) -> Sequence[object]:
    changed = (
        select(table.c.updated_at).where(table.c.purchase_id.in_(purchase_ids), table.c.updated_at == at)
        for table in (payments, refunds, disputes)
    )
    return (await db.execute(union_all(*changed))).all()
