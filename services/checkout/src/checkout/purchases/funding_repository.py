"""What sponsors pay, in the database. A trigger keeps the audit trail of each row."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.purchases.domain import PurchaseRequest, State, funding_status_of
from checkout.purchases.tables import authorizations, funding_payments
from contracts.money import Money


async def authorize(db: AsyncConnection, request: PurchaseRequest, *, at: datetime) -> Money | None:
    """What the sponsor pays at most under the request's authorization number: what the request states, which is
    stored, else what was stated last. None: it was never stated."""
    key = {
        "student_id": request.student_id,
        "funding_source": request.funding_source,
        "authorization_number": request.authorization_number,
    }
    if request.authorization_number is None:
        return None
    if request.cap is None:
        stated = select(authorizations.c.cap, authorizations.c.currency).filter_by(**key)
        row = (await db.execute(stated)).one_or_none()
        return None if row is None else Money(amount=row.cap, currency=row.currency)
    values = {"cap": request.cap.amount, "currency": request.cap.currency, "updated_at": at}
    added = insert(authorizations).values(**key, **values)
    await db.execute(added.on_conflict_do_update(index_elements=list(key), set_=values))
    return request.cap


async def insert_funding(db: AsyncConnection, purchase_id: UUID, request: PurchaseRequest, *, at: datetime) -> None:
    await db.execute(
        insert(funding_payments).values(
            id=purchase_id,
            student_id=request.student_id,
            program_id=request.program.id,
            funding_source=request.funding_source,
            amount=request.payers_share.to_decimal(),
            created_at=at,
            updated_at=at,
        )
    )


async def correct_funding(db: AsyncConnection, purchase_id: UUID, request: PurchaseRequest, *, at: datetime) -> None:
    """A later event names another student, item or sponsor; or a sponsor at all."""
    values = {
        "student_id": request.student_id,
        "program_id": request.program.id,
        "funding_source": request.funding_source,
        "amount": request.payers_share.to_decimal(),
        "updated_at": at,
    }
    added = insert(funding_payments).values(id=purchase_id, created_at=at, **values)
    await db.execute(added.on_conflict_do_update(index_elements=["id"], set_=values))


async def write_funding_invoice(db: AsyncConnection, purchase_id: UUID, invoice_id: str, *, at: datetime) -> None:
    """The invoice that the sponsor has to pay now; a void one is replaced."""
    changed = funding_payments.c.stripe_invoice_id.is_distinct_from(invoice_id)
    await db.execute(
        update(funding_payments)
        .where(funding_payments.c.id == purchase_id, changed)
        .values(stripe_invoice_id=invoice_id, updated_at=at)
    )


async def end_funding(db: AsyncConnection, purchase_id: UUID, *, state: State, at: datetime) -> None:
    """The purchase has ended in this state without being paid."""
    await db.execute(
        update(funding_payments)
        .where(funding_payments.c.id == purchase_id)
        .values(status=funding_status_of(state, received=False), updated_at=at)
    )


async def update_funding(
    db: AsyncConnection,
    purchase_id: UUID,
    *,
    state: State,
    received: bool,
    payment_intent_id: str | None,
    session_id: str | None,
    invoice_id: str | None,
    paid_at: datetime | None,
    at: datetime,
) -> None:
    """Follows the purchase. Writes nothing, and so leaves no trail, when nothing is new.

    `paid_at`: when the success that is being handled happened. The earliest one counts, in any order.
    """
    row = (await db.execute(select(funding_payments).where(funding_payments.c.id == purchase_id))).one_or_none()
    if row is None:
        return
    status = funding_status_of(state, received=received)
    times = [time for time in (row.paid_at, paid_at) if time is not None]
    values = {
        "status": status,
        "stripe_payment_intent_id": row.stripe_payment_intent_id or payment_intent_id,
        "stripe_checkout_session_id": row.stripe_checkout_session_id or session_id,
        "stripe_invoice_id": row.stripe_invoice_id or invoice_id,
        "paid_at": min(times, default=at) if status == "paid" else row.paid_at,
    }
    if any(getattr(row, name) != value for name, value in values.items()):
        await db.execute(
            update(funding_payments).where(funding_payments.c.id == purchase_id).values(values | {"updated_at": at})
        )
