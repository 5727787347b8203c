"""Items that were taken off sale cannot be paid any more: what students have started to buy is closed at Stripe.

A sponsor's invoice stays open: it states what was agreed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog

from checkout.catalog.service import OFF_SALE
from checkout.purchases import repository
from checkout.purchases.domain import OPEN, Change, State
from checkout.purchases.jobs import PATIENT
from checkout.purchases.repository import PurchaseRow
from checkout.stripe_client import Stripe, StripeRejected
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.jobs.jobs import Job, JobHandler
from kit.runtime.failures import Transient

log = structlog.get_logger(__name__)

CLOSE = "purchase_close"


class OffSale:
    """Enqueues the closing of each unpaid purchase of the items."""

    backoff = PATIENT

    def __init__(self, database: Database) -> None:
        self._database = database

    async def perform(self, job: Job) -> list[UUID]:
        async with self._database.transaction() as db:
            return await repository.unpaid_of_items(db, [UUID(id) for id in job.payload["item_ids"]])

    async def record(self, job: Job, result: list[UUID], uow: UnitOfWork) -> None:
        for id in result:
            await uow.enqueue(CLOSE, key=f"{id}/{job.key}", payload={"purchase_id": str(id)})

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("failed to find the purchases of an item that was taken off sale", item=job.key)


class PurchaseClose:
    """Expires the page or cancels the intent. What the installments have opened is closed by their own timer."""

    backoff = PATIENT

    def __init__(self, database: Database, stripe: Stripe) -> None:
        self._database = database
        self._stripe = stripe

    async def perform(self, job: Job) -> bool:
        """Whether it cannot be paid any more. Otherwise somebody has paid it, or is paying."""
        async with self._database.transaction() as db:
            row = await repository.read_row(db, UUID(job.payload["purchase_id"]))
        if row is None or row.payment_flow == "installments":
            return False
        try:
            return await self._close(row, key=f"{job.key}/close")
        except StripeRejected as rejected:
            if rejected.code == "resource_missing":
                return True
            raise Transient(str(rejected)) from rejected

    async def _close(self, row: PurchaseRow, *, key: str) -> bool:
        if row.stripe_checkout_session_id is not None:
            return (await self._stripe.expire_session(row.stripe_checkout_session_id, key=key)).status == "expired"
        if row.stripe_payment_intent_id is not None:
            return (await self._stripe.cancel_intent(row.stripe_payment_intent_id, key=key)).status == "canceled"
        return row.state is State.CREATED  # its page or intent was never handed out

    async def record(self, job: Job, result: bool, uow: UnitOfWork) -> None:
        id = UUID(job.payload["purchase_id"])
        row = await repository.lock_purchase(uow.db, id)
        if result:
            await repository.change_state(uow.db, id, Change.EXPIRED, at=uow.now)
        elif row is not None and row.payment_flow == "installments" and row.state in OPEN:
            await repository.write_expiry(uow.db, id, at=uow.now)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("failed to close purchase; it can still be paid", purchase=job.payload["purchase_id"])


def handlers(database: Database, stripe: Stripe) -> Mapping[str, JobHandler[Any]]:
    return {OFF_SALE: OffSale(database), CLOSE: PurchaseClose(database, stripe)}
