"""What stands in the way of an erasure, what identifies a student in events, and the erasures themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, CompoundSelect, Select, func, or_, select, text, union
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.erasures.tables import erasure_receipts, erasures
from checkout.installments.tables import installments
from checkout.memberships.tables import memberships
from checkout.payments.tables import disputes, payments, refund_requests, refunds
from checkout.purchases.tables import contacts, customers, purchases, unmatched_payments
from checkout.receipts.tables import documents
from contracts.envelope import Envelope
from contracts.erasure import StudentErased
from contracts.personal_data import is_identifier
from contracts.registry import OWN_EVENTS

SERVICES = tuple(OWN_EVENTS)
"""Those that erase: all."""
OVERDUE = timedelta(hours=1)
"""How long a service may take to erase."""
_UNPAID = ("open", "processing", "overdue", "paused")
_PAYABLE = ("created", "session_open", "awaiting_payment", "processing")


@dataclass(frozen=True, kw_only=True)
class ErasureReceipt:
    """`rows`: how many the service has deleted or changed, by table."""

    service: str
    erased_at: datetime
    rows: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class ErasureRecord:
    student_id: UUID
    requested_by: str
    requested_at: datetime
    receipts: tuple[ErasureReceipt, ...] = ()

    def missing(self, services: Collection[str]) -> tuple[str, ...]:
        """Those that have not said that they have erased."""
        return tuple(sorted(set(services) - {each.service for each in self.receipts}))


# Of what other systems have sold, only the facts name the customer. One who has paid for somebody else, too, is not the
# student's alone. (OFFSET 0: by index for each customer, not all facts at once.)
_CUSTOMERS = text(
    """
    WITH own AS (
        SELECT DISTINCT body #>> '{refs,customer}' AS customer FROM facts
        WHERE group_id IN (SELECT group_id FROM fact_keys WHERE key = ANY (CAST(:keys AS text[])))
            AND body #>> '{refs,customer}' IS NOT NULL
            AND body ->> 'student_id' = :student AND body ->> 'payer' IS DISTINCT FROM 'sponsor'
    )
    SELECT customer FROM own WHERE NOT EXISTS (
        SELECT FROM facts WHERE body #>> '{refs,customer}' = own.customer
            AND (body ->> 'student_id' <> :student OR body ->> 'payer' = 'sponsor') OFFSET 0
    )
    AND NOT EXISTS (SELECT FROM sponsor_customers WHERE stripe_customer_id = own.customer)
    AND NOT EXISTS (
        SELECT FROM customers WHERE stripe_customer_id = own.customer AND student_id::text <> :student
    )
    """
)


async def blocks(db: AsyncConnection, student_id: UUID) -> list[str]:
    """Why the student cannot be erased yet: money is still moving. Codes, in a fixed order."""
    at_stripe = (purchases.c.payment_flow == "external") & purchases.c.next_charge_at.is_not(None)
    unsettled: dict[str, tuple[Any, ColumnElement[bool]]] = {
        "dispute_open": (disputes, disputes.c.closed_at.is_(None)),
        "refund_pending": (refunds, refunds.c.status == "pending"),
        "refund_requested": (refund_requests, refund_requests.c.status == "pending"),
        "installment_unpaid": (installments, installments.c.status.in_(_UNPAID)),
        "payment_in_progress": (purchases, purchases.c.state.in_(_PAYABLE)),
        "membership_active": (memberships, memberships.c.ended_at.is_(None)),
        "subscription_active": (purchases, at_stripe),
    }
    found = []
    for code, (table, condition) in unsettled.items():
        rows = select(func.count()).select_from(table).where(table.c.student_id == student_id, condition)
        if (await db.execute(rows)).scalar_one():
            found.append(code)
    undecided = unmatched_payments.c.status.in_(("pending", "open", "refunding"))
    theirs = func.lower(unmatched_payments.c.email).in_(_addresses(student_id))
    if (await db.execute(select(unmatched_payments.c.id).where(undecided, theirs).limit(1))).first():
        found.append("payment_unmatched")
    return found


def _addresses(student_id: UUID) -> CompoundSelect[Any]:
    """The student's, in lower case."""
    found = (select(func.lower(each.c.email)).where(each.c.student_id == student_id) for each in (contacts, customers))
    return union(*found)


async def exists(db: AsyncConnection, student_id: UUID) -> bool:
    """Whether checkout stores anything about the student."""
    for table in (purchases, contacts, customers, payments):
        if (await db.execute(select(table.c.student_id).where(table.c.student_id == student_id).limit(1))).first():
            return True
    return False


async def identifiers(db: AsyncConnection, student_id: UUID) -> frozenset[str]:
    """The ids of the student, of their purchases, documents and payments, and of all that belongs to them at Stripe."""
    assigned = unmatched_payments.c.student_id == student_id
    columns: Sequence[Select[Any]] = (
        *(
            _own(purchases, name, student_id)
            for name in ("id", "stripe_payment_intent_id", "stripe_checkout_session_id", "stripe_subscription_id")
        ),
        *(
            _own(payments, name, student_id)
            for name in ("id", "stripe_payment_intent_id", "stripe_charge_id", "stripe_invoice_id")
        ),
        *(_own(installments, name, student_id) for name in ("id", "stripe_payment_intent_id", "stripe_invoice_id")),
        *(_own(refunds, name, student_id) for name in ("id", "stripe_refund_id")),
        _own(disputes, "stripe_dispute_id", student_id),
        _own(memberships, "stripe_subscription_id", student_id),
        _own(documents, "id", student_id),
        _own(customers, "stripe_customer_id", student_id),
        select(func.unnest(payments.c.refs)).where(payments.c.student_id == student_id),
        select(func.unnest(unmatched_payments.c.refs)).where(assigned),
        select(unmatched_payments.c.purchase_id).where(assigned),
    )
    found = {str(student_id)}
    for statement in columns:
        found.update(str(each) for each in await db.scalars(statement) if each is not None)
    keys = [*found, *(f"purchase:{each}" for each in found)]
    found.update(await db.scalars(_CUSTOMERS, {"keys": keys, "student": str(student_id)}))
    return frozenset(each for each in found if is_identifier(each))


def _own(table: Any, column: str, student_id: UUID) -> Select[Any]:  # Any: one column of whatever type
    return select(table.c[column]).where(table.c.student_id == student_id)


async def add(db: AsyncConnection, student_id: UUID, *, request_id: str, by: str, at: datetime) -> None:
    """Of a repeated request, the services' receipts are expected again. `request_id`: of its event."""
    values = {"requested_by": by, "requested_at": at, "request_id": request_id}
    statement = insert(erasures).values(student_id=student_id, **values)
    renewed = {name: statement.excluded[name] for name in values}
    await db.execute(statement.on_conflict_do_update(index_elements=["student_id"], set_=renewed))


async def add_receipt(db: AsyncConnection, event: Envelope[StudentErased]) -> None:
    """That of the latest request stays, in any order of the events, and whatever the services' clocks say."""
    statement = insert(erasure_receipts).values(
        student_id=event.data.student_id,
        service=event.source,
        erased_at=event.time,
        rows=dict(event.data.rows),
        request_id=event.causation_id,
    )
    new = statement.excluded
    latest = select(erasures.c.request_id).where(erasures.c.student_id == event.data.student_id).scalar_subquery()
    await db.execute(
        statement.on_conflict_do_update(
            index_elements=["student_id", "service"],
            set_={"erased_at": new.erased_at, "rows": new.rows, "request_id": new.request_id},
            where=new.request_id == latest,
        )
    )


async def read(db: AsyncConnection, student_id: UUID) -> ErasureRecord | None:
    row = (await db.execute(select(erasures).where(erasures.c.student_id == student_id))).one_or_none()
    return None if row is None else (await _with_receipts(db, [row]))[0]


async def unfinished(db: AsyncConnection, services: Collection[str], *, limit: int) -> list[ErasureRecord]:
    """Those that a service has not confirmed, oldest first."""
    wanted = select(erasures).where(_is_unfinished(services)).order_by(erasures.c.requested_at).limit(limit)
    return await _with_receipts(db, (await db.execute(wanted)).all())


async def overdue(db: AsyncConnection, services: Collection[str], *, now: datetime) -> int:
    """How many a service has not confirmed in time."""
    late = (_is_unfinished(services), erasures.c.requested_at < now - OVERDUE)
    return (await db.execute(select(func.count()).select_from(erasures).where(*late))).scalar_one()


def _is_unfinished(services: Collection[str]) -> ColumnElement[bool]:
    confirmed = (
        select(func.count())
        .select_from(erasure_receipts)
        .where(
            erasure_receipts.c.student_id == erasures.c.student_id,
            erasure_receipts.c.service.in_(services),
            or_(erasures.c.request_id.is_(None), erasure_receipts.c.request_id == erasures.c.request_id),
        )
        .scalar_subquery()
    )
    return confirmed < len(services)


async def _with_receipts(db: AsyncConnection, rows: Sequence[Any]) -> list[ErasureRecord]:
    """With the receipts of the latest request. (One of an earlier version of checkout has no id.)"""
    ids = [row.student_id for row in rows]
    found = (await db.execute(select(erasure_receipts).where(erasure_receipts.c.student_id.in_(ids)))).all()
    return [
        ErasureRecord(
            student_id=row.student_id,
            requested_by=row.requested_by,
            requested_at=row.requested_at,
            receipts=tuple(
                ErasureReceipt(service=each.service, erased_at=each.erased_at, rows=each.rows)
                for each in sorted(found, key=lambda each: each.service)
                if each.student_id == row.student_id and row.request_id in (None, each.request_id)
            ),
        )
        for row in rows
    ]
