"""Payments, refunds, refund requests and disputes in the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict, Unpack
from uuid import UUID

from sqlalchemy import Row, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.payments.domain import (
    DisputeValues,
    PaymentRecord,
    RefundOrigin,
    RefundRecord,
    RefundRequestRecord,
    RefundStatus,
)
from checkout.payments.projection import EventRecord
from checkout.payments.tables import disputes, payments, purchase_ends, refund_requests, refunds
from checkout.purchases.domain import PurchaseRequest
from checkout.schema import insert_rows, one_of, overlaps, row_as, update_rows
from contracts.money import Money
from contracts.payments import DisputeStatus, PaymentEvent
from contracts.people import Payer
from kit.messaging import fact_store
from kit.messaging.event_facts import StoredEvent, events_of

# --- payments ---------------------------------------------------------------------------------------------------------


async def insert_payment(
    db: AsyncConnection,
    purchase_id: UUID,
    purchase_request: PurchaseRequest,
    *,
    refs: Sequence[str],
    intent_id: str | None = None,
    manual_id: str | None = None,
    amount: Money | None = None,
    installment: str | None = None,
    payer: Payer | None = None,
    at: datetime,
) -> UUID:
    """Stores a payment that is about to be made and returns its id. `amount` None: all that the purchase costs; `payer`
    None: the purchase's.

    Returns the existing payment if one shares a reference: its events arrived first, or this is a retry.
    """
    existing = select(payments.c.id).where(payments.c.purchase_id == purchase_id, overlaps(payments.c.refs, refs))
    if (id := (await db.execute(existing)).scalar_one_or_none()) is not None:
        return UUID(str(id))
    money = amount or purchase_request.amount
    added = await db.execute(
        insert(payments)
        .values(
            purchase_id=purchase_id,
            student_id=purchase_request.student_id,
            item_slug=purchase_request.program.slug,
            item_name=purchase_request.program.title,
            item_kind=purchase_request.program.kind or "program",
            owner_id=purchase_request.owner_id,
            payer=payer or purchase_request.payer,
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
    if (id := added.scalar_one_or_none()) is None:  # its event was stored a moment ago
        id = (await db.execute(existing)).scalar_one()
    return UUID(str(id))


async def read_payment(db: AsyncConnection, id: UUID) -> PaymentRecord | None:
    """None also for a payment that the caller may not see."""
    return _payment((await db.execute(select(payments).where(payments.c.id == id))).one_or_none())


async def payment_by_intent(db: AsyncConnection, intent_id: str) -> PaymentRecord | None:
    """None also for a payment that the caller may not see."""
    if "\x00" in intent_id:
        return None
    found = await db.execute(select(payments).where(payments.c.stripe_payment_intent_id == intent_id))
    return _payment(found.one_or_none())


async def lock_payment(db: AsyncConnection, id: UUID) -> PaymentRecord | None:
    """None also for a payment that the caller may not change."""
    return _payment((await db.execute(select(payments).where(payments.c.id == id).with_for_update())).one_or_none())


async def lock_payments(
    db: AsyncConnection, purchase_ids: Collection[UUID], refs: Collection[str]
) -> list[PaymentRecord]:
    """The purchases' payments, and any other payment with one of these references; oldest first."""
    wanted = or_(one_of(payments.c.purchase_id, purchase_ids), overlaps(payments.c.refs, refs))
    # everybody locks payments in the order of their ids
    locked = await db.execute(select(payments).where(wanted).order_by(payments.c.id).with_for_update())
    return sorted(_payments(locked.all()), key=lambda payment: (payment.created_at, payment.id))


async def payments_of(db: AsyncConnection, *purchase_ids: UUID) -> list[PaymentRecord]:
    """The purchases' payments, newest first."""
    wanted = select(payments).where(one_of(payments.c.purchase_id, purchase_ids))
    when = func.coalesce(payments.c.paid_at, payments.c.created_at).desc()
    found = await db.execute(wanted.order_by(when, payments.c.created_at.desc(), payments.c.id))
    return _payments(found.all())


async def lock_payments_of(db: AsyncConnection, purchase_id: UUID) -> list[PaymentRecord]:
    """The purchase's payments that the caller may change, in the order of their ids, as everybody locks them."""
    wanted = select(payments).where(payments.c.purchase_id == purchase_id).order_by(payments.c.id)
    return _payments((await db.execute(wanted.with_for_update())).all())


async def mark_late(db: AsyncConnection, id: UUID, *, at: datetime) -> bool:
    """Whether it was not marked before."""
    unmarked = update(payments).where(payments.c.id == id, ~payments.c.late).values(late=True, updated_at=at)
    return (await db.execute(unmarked)).rowcount == 1


async def add_payments(db: AsyncConnection, records: Sequence[PaymentRecord]) -> None:
    await insert_rows(db, payments, [asdict(each) for each in records])


async def write_payments(db: AsyncConnection, records: Sequence[PaymentRecord]) -> None:
    """Replaces what is stored of them."""
    await update_rows(db, payments, [asdict(each) for each in records])


async def merge_payments(db: AsyncConnection, kept: UUID, other: UUID, *, at: datetime) -> None:
    """Two rows turned out to be one payment: moves what belongs to `other` to `kept`, and deletes `other`."""
    requests = refund_requests
    pending = (requests.c.status == "pending", requests.c.payment_id == other)
    duplicate = select(requests.c.id).where(requests.c.status == "pending", requests.c.payment_id == kept).exists()
    note = "Duplicate of another refund request for the same payment."
    rejected = {"status": "rejected", "decided_by": "system", "decided_at": at, "note": note}
    await db.execute(update(requests).where(*pending, duplicate).values(**rejected))
    for table in (refunds, requests, disputes):
        await db.execute(update(table).where(table.c.payment_id == other).values(payment_id=kept))
    await db.execute(delete(payments).where(payments.c.id == other))


def _payment(row: Row[Any] | None) -> PaymentRecord | None:
    return None if row is None else row_as(PaymentRecord, row)


def _payments(rows: Sequence[Row[Any]]) -> list[PaymentRecord]:
    return [row_as(PaymentRecord, row) for row in rows]


# --- refunds ----------------------------------------------------------------------------------------------------------


class NewRefund(TypedDict):
    """The columns of a refund to add."""

    id: NotRequired[UUID]
    payment_id: UUID
    purchase_id: UUID
    student_id: UUID
    amount: int
    currency: str
    reason: str
    origin: RefundOrigin
    requested_by: str
    status: RefundStatus
    stripe_refund_id: NotRequired[str]
    reported: NotRequired[bool]
    created_at: datetime


class RefundChanges(TypedDict, total=False):
    status: RefundStatus
    failure: str | None
    reported: bool
    stripe_refund_id: str
    created_at: datetime


async def refunds_of_payment(db: AsyncConnection, payment_id: UUID) -> list[RefundRecord]:
    """Newest first."""
    newest_first = (refunds.c.created_at.desc(), refunds.c.id.desc())
    found = await db.execute(select(refunds).where(refunds.c.payment_id == payment_id).order_by(*newest_first))
    return _refunds(found.all())


async def refunds_of_purchase(db: AsyncConnection, purchase_id: UUID) -> list[RefundRecord]:
    """Oldest first."""
    oldest_first = (refunds.c.created_at, refunds.c.id)
    found = await db.execute(select(refunds).where(refunds.c.purchase_id == purchase_id).order_by(*oldest_first))
    return _refunds(found.all())


async def related_refunds(db: AsyncConnection, purchase_id: UUID, payment_id: UUID) -> list[RefundRecord]:
    """The refunds of all the purchase's payments, and of this payment, whichever purchase it belonged to then."""
    wanted = or_(refunds.c.purchase_id == purchase_id, refunds.c.payment_id == payment_id)
    return _refunds((await db.execute(select(refunds).where(wanted))).all())


async def succeeded_refunds(db: AsyncConnection, payment_id: UUID | None, refs: Collection[str]) -> list[RefundRecord]:
    """The succeeded refunds of this payment, and of payments with one of these references; oldest first."""
    related = select(payments.c.id).where(overlaps(payments.c.refs, refs))
    own = or_(refunds.c.payment_id == payment_id, refunds.c.payment_id.in_(related))
    wanted = select(refunds).where(own, refunds.c.status == "succeeded")
    return _refunds((await db.execute(wanted.order_by(refunds.c.created_at, refunds.c.id))).all())


async def refunds_with_refs(
    db: AsyncConnection, payment_ids: Collection[UUID], refs: Collection[str]
) -> list[tuple[RefundRecord, frozenset[str]]]:
    """The succeeded refunds of these payments, and of payments with one of these references, each with the references
    of its payment; oldest first."""
    of_payment = refunds.join(payments, payments.c.id == refunds.c.payment_id)
    wanted = or_(one_of(payments.c.id, payment_ids), overlaps(payments.c.refs, refs))
    found = await db.execute(
        select(refunds, payments.c.refs)
        .select_from(of_payment)
        .where(wanted, refunds.c.status == "succeeded")
        .order_by(refunds.c.created_at, refunds.c.id)
    )
    return [(row_as(RefundRecord, row), frozenset(row.refs)) for row in found]


async def find_refund(db: AsyncConnection, id: UUID) -> RefundRecord | None:
    row = (await db.execute(select(refunds).where(refunds.c.id == id))).one_or_none()
    return None if row is None else row_as(RefundRecord, row)


async def add_refund(db: AsyncConnection, *, at: datetime, **columns: Unpack[NewRefund]) -> RefundRecord:
    added = insert(refunds).values(**columns, updated_at=at).returning(refunds)
    return row_as(RefundRecord, (await db.execute(added)).one())


async def write_refund(
    db: AsyncConnection, stored: RefundRecord, *, at: datetime, **changes: Unpack[RefundChanges]
) -> None:
    """Writes nothing if nothing changed."""
    if any(getattr(stored, name) != value for name, value in changes.items()):
        await db.execute(update(refunds).where(refunds.c.id == stored.id).values(**changes, updated_at=at))


def _refunds(rows: Sequence[Row[Any]]) -> list[RefundRecord]:
    return [row_as(RefundRecord, row) for row in rows]


# --- refund requests --------------------------------------------------------------------------------------------------


async def add_refund_request(
    db: AsyncConnection, payment: PaymentRecord, *, reason: str, at: datetime
) -> RefundRequestRecord | None:
    """None if a request for this payment is pending already."""
    added = await db.execute(
        insert(refund_requests)
        .values(
            payment_id=payment.id,
            purchase_id=payment.purchase_id,
            student_id=payment.student_id,
            reason=reason,
            created_at=at,
            updated_at=at,
        )
        .on_conflict_do_nothing()
        .returning(refund_requests)
    )
    row = added.one_or_none()
    return None if row is None else row_as(RefundRequestRecord, row)


async def pending_refund_request(db: AsyncConnection, payment_id: UUID) -> UUID | None:
    pending = (refund_requests.c.payment_id == payment_id, refund_requests.c.status == "pending")
    id: UUID | None = (await db.execute(select(refund_requests.c.id).where(*pending))).scalar_one_or_none()
    return id


async def read_refund_request(db: AsyncConnection, id: UUID, *, lock: bool = False) -> RefundRequestRecord | None:
    wanted = select(refund_requests).where(refund_requests.c.id == id)
    row = (await db.execute(wanted.with_for_update() if lock else wanted)).one_or_none()
    return None if row is None else row_as(RefundRequestRecord, row)


async def decide_refund_request(
    db: AsyncConnection, id: UUID, refund: RefundRecord | None, *, by: str, note: str | None, at: datetime
) -> RefundRequestRecord:
    """Approved with its refund, or rejected without one."""
    decided = await db.execute(
        update(refund_requests)
        .where(refund_requests.c.id == id)
        .values(
            status="approved" if refund else "rejected",
            decided_amount=refund.amount if refund else None,
            decided_by=by,
            decided_at=at,
            note=note,
            refund_id=refund.id if refund else None,
            updated_at=at,
        )
        .returning(refund_requests)
    )
    return row_as(RefundRequestRecord, decided.one())


# --- disputes --------------------------------------------------------------------------------------------------------


async def write_dispute(
    db: AsyncConnection, dispute_id: str, payment: PaymentRecord, values: DisputeValues, *, at: datetime
) -> None:
    """`dispute_id` is Stripe's. Writes nothing if nothing changed."""
    owner = {"payment_id": payment.id, "purchase_id": payment.purchase_id, "student_id": payment.student_id}
    columns = {**owner, **asdict(values)}
    statement = insert(disputes).values(stripe_dispute_id=dispute_id, **columns, updated_at=at)
    await db.execute(
        statement.on_conflict_do_update(
            index_elements=["stripe_dispute_id"],
            set_={**columns, "updated_at": at},
            where=or_(*(disputes.c[name].is_distinct_from(statement.excluded[name]) for name in columns)),
        )
    )


async def dispute_statuses(db: AsyncConnection, purchase_id: UUID) -> dict[UUID, set[DisputeStatus]]:
    """The statuses of all disputes of the purchase, by payment."""
    found: dict[UUID, set[DisputeStatus]] = defaultdict(set)
    wanted = select(disputes.c.payment_id, disputes.c.status).where(disputes.c.purchase_id == purchase_id)
    for payment_id, status in (await db.execute(wanted)).all():
        found[payment_id].add(status)
    return found


# --- ends of purchases ------------------------------------------------------------------------------------------------


async def add_end(
    db: AsyncConnection,
    purchase_id: UUID,
    student_id: UUID,
    *,
    by: Literal["student", "school"],
    reason: str,
    counted: Sequence[str],
    at: datetime,
) -> bool:
    """False: it had ended before."""
    added = insert(purchase_ends).values(
        purchase_id=purchase_id,
        student_id=student_id,
        ended_by=by,
        reason=reason,
        counted=list(counted),
        created_at=at,
        updated_at=at,
    )
    return (await db.execute(added.on_conflict_do_nothing())).rowcount == 1


async def counted_at_end(db: AsyncConnection, purchase_id: UUID) -> frozenset[str] | None:
    """The references of the payments that had succeeded when a student or the school ended it; None: nobody has."""
    counted = select(purchase_ends.c.counted).where(purchase_ends.c.purchase_id == purchase_id)
    found = (await db.execute(counted)).scalar_one_or_none()
    return None if found is None else frozenset(found)


# --- events -----------------------------------------------------------------------------------------------------------


async def events_of_purchase(db: AsyncConnection, purchase_id: UUID) -> list[EventRecord]:
    """Every stored payment event of this purchase, also those that belong to it only through another event."""
    return records_of(events_of(await fact_store.group_of(db, f"purchase:{purchase_id}")))


def records_of(events: Sequence[StoredEvent]) -> list[EventRecord]:
    return [
        EventRecord(id=each.id, time=each.time, event=each.data)
        for each in events
        if isinstance(each.data, PaymentEvent)
    ]
