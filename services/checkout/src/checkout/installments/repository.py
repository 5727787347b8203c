"""Installments, manual payments and cancellations in the database.

Installments change only under the lock of their purchase's row, which serves all installments of the purchase.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import Row, exists, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.installments.domain import (
    Cancellation,
    ClosedBecause,
    Installment,
    InstallmentStatus,
    ManualMethod,
    ManualPayment,
    PlannedInstallment,
    waits_for_sponsor,
)
from checkout.installments.tables import cancellations, installments, manual_payments, sponsor_customers
from checkout.purchases.domain import installment_id as installment_id  # re-exported with the rest of installments
from checkout.purchases.repository import PurchaseRow, lock_purchase, read_row
from checkout.purchases.tables import purchases
from checkout.schema import one_of, row_as

# --- installments -----------------------------------------------------------------------------------------------------


class RequestChanges(TypedDict, total=False):
    """By which intent or invoice it can be paid, and where."""

    stripe_payment_intent_id: str | None
    stripe_invoice_id: str | None
    client_secret: str | None
    pay_url: str | None


class InstallmentChanges(RequestChanges, total=False):
    amount: int
    due_at: datetime
    status: InstallmentStatus
    attempts: int
    next_attempt_at: datetime | None
    timers: int
    asked: int
    failed_debits: int
    round: int
    closed_because: ClosedBecause | None
    failure_code: str | None
    losses: int
    announced_round: int
    charged_at: datetime | None
    charge_key: str | None
    charged_method: str | None
    paid_at: datetime | None


def without_request(installment: Installment) -> RequestChanges:
    """It has no intent or invoice any more, so it is paid on its lasting page."""
    return {
        "stripe_payment_intent_id": None,
        "stripe_invoice_id": None,
        "client_secret": None,
        "pay_url": installment.pay_page,
    }


async def add_plan(
    db: AsyncConnection,
    purchase_id: UUID,
    student_id: UUID,
    planned: Sequence[PlannedInstallment],
    *,
    pay_url: Callable[[UUID], str],
) -> None:
    """Stores a plan. The first installment waits for its payer. `pay_url`: of the installment with this id."""
    for each in planned:
        next_attempt_at = each.due_at if each.position > 1 else None
        link = pay_url(installment_id(purchase_id, each.position))
        await add(db, purchase_id, student_id, each, next_attempt_at=next_attempt_at, pay_url=link)


async def add(
    db: AsyncConnection,
    purchase_id: UUID,
    student_id: UUID,
    planned: PlannedInstallment,
    *,
    next_attempt_at: datetime | None,
    pay_url: str | None,
) -> Installment:
    added = insert(installments).values(
        id=installment_id(purchase_id, planned.position),
        purchase_id=purchase_id,
        student_id=student_id,
        position=planned.position,
        kind=planned.kind,
        amount=planned.amount.amount,
        currency=planned.amount.currency,
        due_at=planned.due_at,
        status="open",
        next_attempt_at=next_attempt_at,
        pay_url=pay_url,
        pay_page=pay_url,
    )
    return _installment((await db.execute(added.returning(installments))).one())


async def lock(db: AsyncConnection, id: UUID) -> tuple[PurchaseRow, Installment] | None:
    """The purchase and the installment, both locked; None also if the caller may not see it."""
    wanted = select(installments.c.purchase_id).where(installments.c.id == id)
    purchase_id = (await db.execute(wanted)).scalar_one_or_none()
    if purchase_id is None or (purchase := await lock_purchase(db, purchase_id)) is None:
        return None
    row = (await db.execute(select(installments).where(installments.c.id == id).with_for_update())).one()
    return purchase, _installment(row)


async def read(db: AsyncConnection, id: UUID) -> Installment | None:
    row = (await db.execute(select(installments).where(installments.c.id == id))).one_or_none()
    return None if row is None else _installment(row)


async def find_by_invoice(db: AsyncConnection, invoice_id: str) -> tuple[PurchaseRow, Installment] | None:
    """The purchase and the installment that the invoice at Stripe is for, without a lock."""
    row = (await db.execute(select(installments).where(installments.c.stripe_invoice_id == invoice_id))).one_or_none()
    if row is None or (purchase := await read_row(db, row.purchase_id)) is None:
        return None
    return purchase, _installment(row)


async def of_purchases(db: AsyncConnection, purchase_ids: Collection[UUID]) -> dict[UUID, list[Installment]]:
    """By purchase and position; without those that have none."""
    found = defaultdict[UUID, list[Installment]](list)
    wanted = select(installments).where(one_of(installments.c.purchase_id, purchase_ids))
    for row in await db.execute(wanted.order_by(installments.c.position)):
        found[row.purchase_id].append(_installment(row))
    return found


async def of_purchase(db: AsyncConnection, purchase_id: UUID) -> list[Installment]:
    """By position."""
    own = select(installments).where(installments.c.purchase_id == purchase_id)
    return [_installment(row) for row in await db.execute(own.order_by(installments.c.position))]


async def awaits_sponsor(db: AsyncConnection, installment: Installment) -> bool:
    """Whether it is a co-pay that is not owed yet."""
    return installment.is_co_pay and waits_for_sponsor(installment, await of_purchase(db, installment.purchase_id))


async def write(db: AsyncConnection, id: UUID, *, at: datetime, **changes: Unpack[InstallmentChanges]) -> Installment:
    """The installment as it is then."""
    changed = update(installments).where(installments.c.id == id).values(**changes, updated_at=at)
    return _installment((await db.execute(changed.returning(installments))).one())


_COLLECTABLE = exists().where(
    purchases.c.id == installments.c.purchase_id,
    purchases.c.canceled_at.is_(None),
    purchases.c.collection_stopped.is_(None),
    purchases.c.state.in_(("awaiting_payment", "processing", "paid")),
    or_(purchases.c.state == "paid", purchases.c.payer == "sponsor"),
)
"""Of purchases that can be collected: a student's once what opens it was paid, a sponsor's from the start. (A co-pay
has no timer until the sponsor has paid.)"""


async def lock_due(db: AsyncConnection, *, now: datetime, limit: int) -> list[Installment]:
    """Locks installments whose timer has fired."""
    due = (
        select(installments)
        .where(installments.c.status == "open", installments.c.next_attempt_at <= now, _COLLECTABLE)
        .order_by(installments.c.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [_installment(row) for row in (await db.execute(due)).all()]


async def lock_to_announce(db: AsyncConnection, *, now: datetime, until: datetime, limit: int) -> list[Installment]:
    """Locks installments that are first collected, or due, between the two times, and were not announced in their
    round. A sponsor's is announced once its invoice was sent."""
    ahead = (
        select(installments)
        .where(
            installments.c.status == "open",
            installments.c.next_attempt_at > now,
            installments.c.next_attempt_at <= until,
            installments.c.attempts == 0,
            installments.c.announced_round < installments.c.round,
            _COLLECTABLE,
            or_(installments.c.kind != "full", installments.c.stripe_invoice_id.is_not(None)),
        )
        .order_by(installments.c.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [_installment(row) for row in (await db.execute(ahead)).all()]


def _installment(row: Row[Any]) -> Installment:
    return row_as(Installment, row)


# --- sponsors' customers at Stripe ------------------------------------------------------------------------------------


async def sponsor_customer(db: AsyncConnection, code: str) -> str | None:
    wanted = select(sponsor_customers.c.stripe_customer_id).where(sponsor_customers.c.code == code)
    return (await db.execute(wanted)).scalar_one_or_none()


async def keep_sponsor_customer(db: AsyncConnection, code: str, customer_id: str) -> None:
    """Replaces one that Stripe does not have any more."""
    kept = insert(sponsor_customers).values(code=code, stripe_customer_id=customer_id)
    replaced = {"stripe_customer_id": customer_id}
    await db.execute(kept.on_conflict_do_update(index_elements=["code"], set_=replaced))


# --- manual payments and cancellations --------------------------------------------------------------------------------


async def find_manual_payment(
    db: AsyncConnection, student_id: UUID, method: ManualMethod, transaction_reference: str
) -> ManualPayment | None:
    named = (
        manual_payments.c.student_id == student_id,
        manual_payments.c.method == method,
        manual_payments.c.transaction_reference == transaction_reference,
    )
    row = (await db.execute(select(manual_payments).where(*named))).one_or_none()
    return None if row is None else row_as(ManualPayment, row)


async def add_manual_payment(db: AsyncConnection, payment: ManualPayment) -> bool:
    """False if the student has a payment with this reference already."""
    added = await db.execute(insert(manual_payments).values(**asdict(payment)).on_conflict_do_nothing())
    return added.rowcount == 1


async def add_cancellation(db: AsyncConnection, cancellation: Cancellation) -> None:
    await db.execute(insert(cancellations).values(**asdict(cancellation)))


async def read_cancellation(db: AsyncConnection, purchase_id: UUID) -> Cancellation | None:
    row = (await db.execute(select(cancellations).where(cancellations.c.purchase_id == purchase_id))).one_or_none()
    return None if row is None else row_as(Cancellation, row)
