"""Purchases that cost nothing, because a promotion code covers the whole price: the worker says that they are paid.

A request only asks for it, by a job. Its login must not publish payments, or its password, if it were stolen, would
open enrollments; so the price is calculated again here, from the catalog and the code. A code counts if it was valid
when the job was created, however late the job is performed: the database sets that time, a request cannot.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import select

from checkout.catalog.promotion_repository import quote
from checkout.catalog.repository import find_any_item
from checkout.purchases import repository
from checkout.purchases.domain import Change, State
from checkout.purchases.repository import PurchaseRow
from checkout.purchases.student_repository import read_contact
from contracts.payments import PaymentRefs, PaymentSucceeded
from kit.db.unit_of_work import UnitOfWork
from kit.http.problems import Problem
from kit.jobs.jobs import Job, jobs
from kit.runtime.backoff import Backoff

log = structlog.get_logger(__name__)

FREE_PAYMENT = "free_payment"
"""The kind of job that publishes that a purchase without a price is paid."""


async def enqueue_free_payment(uow: UnitOfWork, purchase_id: UUID) -> None:
    await uow.enqueue(FREE_PAYMENT, key=str(purchase_id), payload={"purchase_id": str(purchase_id)})


class FreePaymentJob:
    backoff = Backoff()

    async def perform(self, job: Job) -> None:
        """There is nothing to do outside the database."""

    async def record(self, job: Job, result: None, uow: UnitOfWork) -> None:
        row = await repository.lock_purchase(uow.db, UUID(job.payload["purchase_id"]))
        if row is None or row.state is not State.AWAITING_PAYMENT:
            return
        requested_at = (await uow.db.execute(select(jobs.c.created_at).where(jobs.c.id == job.id))).scalar_one()
        if not await _costs_nothing(uow, row, at=requested_at):
            log.error("free payment refused: the purchase has a price", purchase=str(row.id))
            await repository.change_state(uow.db, row.id, Change.EXPIRED, at=uow.now)
            return
        event = PaymentSucceeded(
            refs=PaymentRefs(manual=str(row.id)),
            purchase_id=row.id,
            student_id=row.student_id,
            program=row.program,
            payer=row.payer,
            funding_source=row.funding_source,
            contact=await read_contact(uow.db, row.student_id),
            amount=row.price,
            price=row.price,
            method="promotion",
        )
        await uow.publish(event, id=f"{row.id}/{event.type}", subject=str(row.id))

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("free payment failed", purchase=job.payload["purchase_id"])


async def _costs_nothing(uow: UnitOfWork, row: PurchaseRow, *, at: datetime) -> bool:
    item = await find_any_item(uow.db, str(row.item_id or row.program_slug))
    if item is None or row.amount:
        return False
    try:
        quoted = await quote(uow.db, item, item.money, row.promotion_code, student_id=row.student_id, at=at)
    except Problem:
        return False
    return quoted.total.amount == 0
