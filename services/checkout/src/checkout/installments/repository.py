"""Amounts due in the database. Whoever changes one holds its purchase's row first: that is the lock of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.installments.domain import Due
from checkout.installments.tables import cancellations, manual_payments, schedules, sponsor_customers
from checkout.payments.tables import payments
from checkout.purchases.repository import lock_purchase
from checkout.purchases.tables import contacts, enrollments, purchases
from contracts.people import Contact, enrollment_uuid


def schedule_id(purchase_id: UUID, position: int) -> UUID:
    """Known before the row is: what Stripe is asked for names it."""
    return uuid5(purchase_id, f"schedule/{position}")


def reference(row: Row[Any]) -> str:
    """By which events and Stripe's objects name this amount, in its present round."""
    return f"{row.id}:{row.round}"


def pay_page(purchase: Row[Any], row: Row[Any]) -> str | None:
    """Where it can be paid when no invoice is out for it."""
    own: str | None = purchase.checkout_url if purchase.how == "schedule" else None
    return own or row.pay_url


async def insert_dues(
    db: AsyncConnection, purchase_id: UUID, student_id: UUID, dues: Sequence[Due], *, first_timer: bool, page: str
) -> None:
    """The first one waits for its payer, or (`first_timer`) for the timer as the others do."""
    for due in dues:
        await insert_due(
            db,
            purchase_id,
            student_id,
            due,
            next_attempt_at=due.due_at if due.position > 1 or first_timer else None,
            page=page,
        )


async def insert_due(
    db: AsyncConnection,
    purchase_id: UUID,
    student_id: UUID,
    due: Due,
    *,
    next_attempt_at: datetime | None,
    page: str | None,
) -> None:
    await db.execute(
        insert(schedules).values(
            id=schedule_id(purchase_id, due.position),
            purchase_id=purchase_id,
            student_id=student_id,
            position=due.position,
            kind=due.kind,
            amount=due.amount.amount,
            currency=due.amount.currency,
            due_at=due.due_at,
            status="open",
            next_attempt_at=next_attempt_at,
            pay_url=page,
        )
    )


async def read(db: AsyncConnection, id: UUID) -> Row[Any] | None:
    return (await db.execute(select(schedules).where(schedules.c.id == id))).one_or_none()


async def lock(db: AsyncConnection, id: UUID) -> tuple[Row[Any], Row[Any]] | None:
    """The purchase and the amount due, both locked; None when there is none (that the caller may see)."""
    purchase_id = (await db.execute(select(schedules.c.purchase_id).where(schedules.c.id == id))).scalar_one_or_none()
    if purchase_id is None or (purchase := await lock_purchase(db, purchase_id)) is None:
        return None
    row = (await db.execute(select(schedules).where(schedules.c.id == id).with_for_update())).one()
    return purchase, row


async def of_purchase(db: AsyncConnection, purchase_id: UUID) -> list[Row[Any]]:
    wanted = select(schedules).where(schedules.c.purchase_id == purchase_id).order_by(schedules.c.position)
    return list((await db.execute(wanted)).all())


async def write(db: AsyncConnection, id: UUID, *, at: datetime, **values: Any) -> None:
    await db.execute(update(schedules).where(schedules.c.id == id).values(**values, updated_at=at))


async def write_plan(
    db: AsyncConnection,
    purchase_id: UUID,
    student_id: UUID,
    slug: str,
    *,
    plan: dict[str, Any],
    page: str,
    expires_at: datetime | None,
) -> None:
    await db.execute(
        update(purchases)
        .where(purchases.c.id == purchase_id)
        .values(
            payment_plan=plan,
            checkout_url=page,
            expires_at=expires_at,
            enrollment_id=enrollment_uuid(student_id, slug),
        )
    )


async def keep_open(db: AsyncConnection, purchase_id: UUID, *, until: datetime) -> None:
    """An enrollment that nobody has paid yet ends no sooner."""
    waits = (purchases.c.id == purchase_id, purchases.c.expires_at < until)
    await db.execute(update(purchases).where(*waits).values(expires_at=until))


async def find_purchase(db: AsyncConnection, id: UUID) -> Row[Any] | None:
    """The purchase with this id, or the newest one of this enrollment, as far as the caller may see it."""
    found = (await db.execute(select(purchases).where(purchases.c.id == id))).one_or_none()
    if found is not None:
        return found
    newest = purchases.c.created_at.desc(), purchases.c.id
    of_enrollment = select(purchases).where(purchases.c.enrollment_id == id).order_by(*newest).limit(1)
    if (found := (await db.execute(of_enrollment)).one_or_none()) is not None:
        return found
    of_enrollment = (
        select(purchases)
        .join(enrollments, enrollments.c.purchase_id == purchases.c.id)
        .where(enrollments.c.enrollment_id == id)
    )
    return (await db.execute(of_enrollment.order_by(*newest).limit(1))).one_or_none()


async def contact_of(db: AsyncConnection, student_id: UUID) -> Contact | None:
    row = (await db.execute(select(contacts).where(contacts.c.student_id == student_id))).one_or_none()
    return None if row is None else Contact(email=row.email, name=row.name)


async def sponsor_customer(db: AsyncConnection, code: str) -> str | None:
    wanted = select(sponsor_customers.c.stripe_customer_id).where(sponsor_customers.c.code == code)
    return (await db.execute(wanted)).scalar_one_or_none()


async def keep_sponsor_customer(db: AsyncConnection, code: str, customer_id: str) -> None:
    kept = insert(sponsor_customers).values(code=code, stripe_customer_id=customer_id)
    await db.execute(kept.on_conflict_do_nothing())


async def manual_by_reference(db: AsyncConnection, student_id: UUID, method: str, text: str) -> Row[Any] | None:
    named = (
        manual_payments.c.student_id == student_id,
        manual_payments.c.method == method,
        manual_payments.c.transaction_reference == text,
    )
    return (await db.execute(select(manual_payments).where(*named))).one_or_none()


async def add_manual(db: AsyncConnection, **values: Any) -> Row[Any] | None:
    """None: this reference is there already."""
    statement = insert(manual_payments).values(**values).on_conflict_do_nothing()
    added: Row[Any] | None = (await db.execute(statement.returning(manual_payments))).one_or_none()
    return added


async def add_cancellation(db: AsyncConnection, **values: Any) -> None:
    await db.execute(insert(cancellations).values(**values))


async def read_cancellation(db: AsyncConnection, purchase_id: UUID) -> Row[Any] | None:
    wanted = select(cancellations).where(cancellations.c.purchase_id == purchase_id)
    return (await db.execute(wanted)).one_or_none()


async def payments_of(db: AsyncConnection, purchase_id: UUID) -> list[Row[Any]]:
    """Newest first."""
    wanted = select(payments).where(payments.c.purchase_id == purchase_id)
    when = func.coalesce(payments.c.paid_at, payments.c.created_at).desc()
    return list((await db.execute(wanted.order_by(when, payments.c.created_at.desc(), payments.c.id))).all())
