"""Payments, and what became of them, in the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.payments.projection import Said
from checkout.payments.tables import disputes, payments, refund_requests, refunds
from checkout.purchases.domain import Wish
from checkout.schema import overlaps
from contracts.money import Money
from contracts.payments import PaymentEvent
from contracts.registry import EVENT_TYPES
from kit.messaging import fact_store


async def insert_payment(
    db: AsyncConnection,
    purchase_id: UUID,
    wish: Wish,
    *,
    refs: Sequence[str],
    intent_id: str | None = None,
    manual_id: str | None = None,
    amount: Money | None = None,
    installment: str | None = None,
    at: datetime,
) -> UUID:
    """A payment that is to be made (of all that the purchase costs, unless `amount` says otherwise); its id.

    One that shares a reference is there already: its events were faster, or it is asked for again.
    """
    known = select(payments.c.id).where(payments.c.purchase_id == purchase_id, overlaps(payments.c.refs, refs))
    if (id := (await db.execute(known)).scalar_one_or_none()) is not None:
        return UUID(str(id))
    money = amount or wish.amount
    added = await db.execute(
        insert(payments)
        .values(
            purchase_id=purchase_id,
            student_id=wish.student_id,
            item_slug=wish.program.slug,
            item_name=wish.program.title,
            item_kind=wish.program.kind or "program",
            owner_id=wish.owner_id,
            payer=wish.payer,
            amount=money.amount,
            currency=money.currency,
            status="requires_payment",
            refs=list(refs),
            installment=installment,
            stripe_payment_intent_id=intent_id,
            manual_id=manual_id,
            created_at=at,
            updated_at=at,
        )
        .on_conflict_do_nothing()
        .returning(payments.c.id)
    )
    if (id := added.scalar_one_or_none()) is None:  # its event was faster by a hair
        id = (await db.execute(known)).scalar_one()
    return UUID(str(id))


async def payment_by_intent(db: AsyncConnection, intent_id: str) -> Row[Any] | None:
    """The payment with this intent, as far as the caller may see it."""
    if "\x00" in intent_id:
        return None
    return (await db.execute(select(payments).where(payments.c.stripe_payment_intent_id == intent_id))).one_or_none()


async def lock_payments(db: AsyncConnection, purchase_id: UUID, refs: Collection[str]) -> list[Row[Any]]:
    """The purchase's payments, and whatever else goes by one of these references; oldest first."""
    wanted = or_(payments.c.purchase_id == purchase_id, overlaps(payments.c.refs, refs))
    # locked in the order of their ids, whoever locks them
    locked = await db.execute(select(payments).where(wanted).order_by(payments.c.id).with_for_update())
    return sorted(locked, key=lambda row: (row.created_at, row.id))


async def lock_payment(db: AsyncConnection, id: UUID) -> Row[Any] | None:
    """As far as the caller may change it."""
    return (await db.execute(select(payments).where(payments.c.id == id).with_for_update())).one_or_none()


async def read_payment(db: AsyncConnection, id: UUID) -> Row[Any] | None:
    """As far as the caller may see it."""
    return (await db.execute(select(payments).where(payments.c.id == id))).one_or_none()


async def add_payment(db: AsyncConnection, values: Mapping[str, Any]) -> Row[Any]:
    row: Row[Any] = (await db.execute(insert(payments).values(**values).returning(payments))).one()
    return row


async def write_payment(db: AsyncConnection, row: Row[Any], values: Mapping[str, Any], *, at: datetime) -> None:
    """Writes nothing when nothing is new."""
    if any(getattr(row, name) != value for name, value in values.items()):
        await db.execute(update(payments).where(payments.c.id == row.id).values(**values, updated_at=at))


async def join_payments(db: AsyncConnection, kept: UUID, other: UUID, *, at: datetime) -> None:
    """Two rows turn out to be one payment: refunds, requests and disputes of `other` move to `kept`, and `other` goes."""
    requests = refund_requests
    pending = (requests.c.status == "pending", requests.c.payment_id == other)
    twice = select(requests.c.id).where(requests.c.status == "pending", requests.c.payment_id == kept).exists()
    note = "The same payment is asked for in another request."
    await db.execute(
        update(requests).where(*pending, twice).values(status="rejected", decided_by="system", decided_at=at, note=note)
    )
    for table in (refunds, requests, disputes):
        await db.execute(update(table).where(table.c.payment_id == other).values(payment_id=kept))
    await db.execute(delete(payments).where(payments.c.id == other))


async def refunds_of(db: AsyncConnection, payment_id: UUID) -> list[Row[Any]]:
    """Newest first."""
    found = await db.execute(
        select(refunds)
        .where(refunds.c.payment_id == payment_id)
        .order_by(refunds.c.created_at.desc(), refunds.c.id.desc())
    )
    return list(found)


async def refunds_of_all(db: AsyncConnection, purchase_id: UUID, payment_id: UUID) -> list[Row[Any]]:
    """Of all payments of the purchase, and of this one, wherever it belonged when they were made."""
    wanted = or_(refunds.c.purchase_id == purchase_id, refunds.c.payment_id == payment_id)
    return list(await db.execute(select(refunds).where(wanted)))


async def read_refund(db: AsyncConnection, id: UUID) -> Row[Any]:
    return (await db.execute(select(refunds).where(refunds.c.id == id))).one()


async def find_refund(db: AsyncConnection, id: UUID) -> Row[Any] | None:
    return (await db.execute(select(refunds).where(refunds.c.id == id))).one_or_none()


async def add_refund(db: AsyncConnection, values: Mapping[str, Any]) -> Row[Any]:
    row: Row[Any] = (await db.execute(insert(refunds).values(**values).returning(refunds))).one()
    return row


async def write_refund(db: AsyncConnection, row: Row[Any], values: Mapping[str, Any], *, at: datetime) -> None:
    """Writes nothing when nothing is new."""
    if any(getattr(row, name) != value for name, value in values.items()):
        await db.execute(update(refunds).where(refunds.c.id == row.id).values(**values, updated_at=at))


async def write_dispute(db: AsyncConnection, dispute_id: str, values: Mapping[str, Any], *, at: datetime) -> None:
    """Writes nothing when nothing is new."""
    statement = insert(disputes).values(stripe_dispute_id=dispute_id, **values, updated_at=at)
    await db.execute(
        statement.on_conflict_do_update(
            index_elements=["stripe_dispute_id"],
            set_={**values, "updated_at": at},
            where=or_(*(disputes.c[name].is_distinct_from(statement.excluded[name]) for name in values)),
        )
    )


async def lost_dispute(db: AsyncConnection, payment_id: UUID) -> bool:
    found = await db.execute(
        select(disputes.c.id).where(disputes.c.payment_id == payment_id, disputes.c.status == "lost").limit(1)
    )
    return found.one_or_none() is not None


async def said_of(db: AsyncConnection, purchase_id: UUID) -> list[Said]:
    """Every payment event that belongs together with this purchase, with the id and the time of its envelope."""
    return [
        Said(id=fact.event_id, time=fact.time, event=event)
        for fact in await fact_store.known(db, f"purchase:{purchase_id}")
        if isinstance(event := EVENT_TYPES[fact.type].model_validate(fact.body), PaymentEvent)
    ]
