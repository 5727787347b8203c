"""Unmatched payments in the database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row, select, update
from sqlalchemy import delete as delete_from
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.purchases.external_purchase import UnmatchedCode
from checkout.purchases.tables import unmatched_payments
from checkout.schema import insert_rows, one_of, overlaps, row_as
from contracts.money import Money
from contracts.payments import PaymentRefs
from contracts.people import Payer

UnmatchedStatus = Literal["pending", "open", "matched", "assigned", "refunding", "refunded"]


@dataclass(frozen=True, kw_only=True)
class UnmatchedValues:
    """What the events say of it. Amounts are minor units of `currency`."""

    purchase_id: UUID
    refs: list[str]
    payment_refs: PaymentRefs
    amount: int
    refunded: int
    currency: str
    email: str | None
    payer: Payer
    funding_source: str | None
    installments: int | None
    code: UnmatchedCode


@dataclass(frozen=True, kw_only=True)
class UnmatchedPayment(UnmatchedValues):
    """A row. `status` pending: not listed yet, because its match may still arrive."""

    id: UUID
    status: UnmatchedStatus
    student_id: UUID | None
    failure: str | None
    resolved_by: str | None
    resolved_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def left(self) -> Money:
        return Money(amount=self.amount - self.refunded, currency=self.currency)


async def purchase_ids(db: AsyncConnection, ids: Collection[UUID]) -> frozenset[UUID]:
    """Those of these purchases that have no row because their payment is unmatched."""
    table = unmatched_payments
    return frozenset(await db.scalars(select(table.c.purchase_id).where(one_of(table.c.purchase_id, ids))))


async def lock_listed(db: AsyncConnection, refs: Collection[str]) -> list[UnmatchedPayment]:
    """The rows with one of these references, oldest first."""
    wanted = select(unmatched_payments).where(overlaps(unmatched_payments.c.refs, refs))
    rows = await db.execute(wanted.order_by(unmatched_payments.c.id).with_for_update())
    return sorted((_payment(row) for row in rows), key=lambda each: (each.created_at, each.id))


async def read(db: AsyncConnection, id: UUID) -> UnmatchedPayment | None:
    row = (await db.execute(select(unmatched_payments).where(unmatched_payments.c.id == id))).one_or_none()
    return None if row is None else _payment(row)


async def lock(db: AsyncConnection, id: UUID) -> UnmatchedPayment | None:
    wanted = select(unmatched_payments).where(unmatched_payments.c.id == id)
    row = (await db.execute(wanted.with_for_update())).one_or_none()
    return None if row is None else _payment(row)


async def insert(db: AsyncConnection, new: Sequence[tuple[UUID, UnmatchedValues]], *, at: datetime) -> None:
    """Each with its id."""
    rows = ({"id": id, **_columns(values), "created_at": at, "updated_at": at} for id, values in new)
    await insert_rows(db, unmatched_payments, list(rows))


async def write(
    db: AsyncConnection, stored: UnmatchedPayment, values: UnmatchedValues, *, status: UnmatchedStatus, at: datetime
) -> None:
    """Writes nothing if nothing changed. What was decided stays decided."""
    if status == stored.status and all(getattr(stored, name) == value for name, value in asdict(values).items()):
        return
    columns = _columns(values) | {"status": status, "updated_at": at}
    await db.execute(update(unmatched_payments).where(unmatched_payments.c.id == stored.id).values(**columns))


async def write_status(
    db: AsyncConnection,
    id: UUID,
    *,
    status: UnmatchedStatus,
    failure: str | None = None,
    by: str | None = None,
    at: datetime,
) -> None:
    columns: dict[str, object] = {"status": status, "failure": failure, "updated_at": at}
    if by is not None:
        columns |= {"resolved_by": by, "resolved_at": at}
    await db.execute(update(unmatched_payments).where(unmatched_payments.c.id == id).values(**columns))


async def resolve(db: AsyncConnection, ids: Sequence[UUID], *, status: UnmatchedStatus, at: datetime) -> None:
    """By an event."""
    if ids:
        values = {"status": status, "resolved_by": "system", "resolved_at": at, "updated_at": at}
        await db.execute(update(unmatched_payments).where(unmatched_payments.c.id.in_(ids)).values(**values))


async def assign(db: AsyncConnection, purchase_id: UUID, student_id: UUID, *, by: str, at: datetime) -> None:
    """All payments of one purchase are assigned together."""
    undecided = (unmatched_payments.c.purchase_id == purchase_id, unmatched_payments.c.status.in_(("pending", "open")))
    values = {"status": "assigned", "student_id": student_id, "resolved_by": by, "resolved_at": at, "updated_at": at}
    await db.execute(update(unmatched_payments).where(*undecided).values(**values))


async def delete(db: AsyncConnection, ids: Sequence[UUID]) -> None:
    if ids:
        await db.execute(delete_from(unmatched_payments).where(unmatched_payments.c.id.in_(ids)))


def _columns(values: UnmatchedValues) -> dict[str, Any]:  # Any: the values of columns
    return {**asdict(values), "payment_refs": values.payment_refs.model_dump(mode="json", exclude_none=True)}


def _payment(row: Row[Any]) -> UnmatchedPayment:
    return row_as(UnmatchedPayment, row, payment_refs=PaymentRefs.model_validate(row.payment_refs))
