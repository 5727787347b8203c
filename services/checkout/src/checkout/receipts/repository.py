"""Numbers and documents in the database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, not_, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.payments.domain import NOT_MONEY
from checkout.payments.tables import payments, refunds
from checkout.receipts.document import Content, Kind, Paid, Refund
from checkout.receipts.tables import document_series, documents
from checkout.schema import overlaps
from contracts.money import Money


@dataclass(frozen=True, kw_only=True)
class Document:
    id: UUID
    kind: Kind
    purchase_id: UUID
    payment_id: UUID | None
    refs: frozenset[str]
    content: Content


async def next_number(db: AsyncConnection, series: str, *, at: datetime) -> tuple[int, datetime]:
    """The next number of the series and the time that goes with it, which is never before the last one's.

    Whoever asks next waits until this transaction has ended: that is what leaves no gap.
    """
    first = insert(document_series).values(name=series, last=1, issued_at=at)
    taken = await db.execute(
        first.on_conflict_do_update(
            index_elements=["name"],
            set_={
                "last": document_series.c.last + 1,
                "issued_at": func.greatest(document_series.c.issued_at, first.excluded.issued_at),
            },
        ).returning(document_series.c.last, document_series.c.issued_at)
    )
    row = taken.one()
    return row.last, row.issued_at


async def insert_document(db: AsyncConnection, document: Document, *, series: str, serial: int) -> None:
    await db.execute(
        insert(documents).values(
            id=document.id,
            kind=document.kind,
            series=series,
            serial=serial,
            number=document.content.number,
            payment_id=document.payment_id,
            purchase_id=document.purchase_id,
            student_id=document.content.student_id,
            refs=sorted(document.refs),
            content=document.content.model_dump(mode="json"),
            issued_at=document.content.issued_at,
        )
    )


async def write_refs(
    db: AsyncConnection, id: UUID, *, refs: Collection[str], payment_id: UUID | None, at: datetime
) -> None:
    """What is known now of the payment; the document says what it has said."""
    await db.execute(
        update(documents).where(documents.c.id == id).values(refs=sorted(refs), payment_id=payment_id, updated_at=at)
    )


async def move_documents(db: AsyncConnection, kept: UUID, other: UUID) -> None:
    """The documents of the payment `other` become those of the payment `kept`."""
    await db.execute(update(documents).where(documents.c.payment_id == other).values(payment_id=kept))


async def documents_of(db: AsyncConnection, purchase_id: UUID, refs: Collection[str]) -> list[Document]:
    """The documents of the purchase, and those that name one of these references; oldest first."""
    wanted = or_(documents.c.purchase_id == purchase_id, overlaps(documents.c.refs, refs))
    found = await db.execute(select(documents).where(wanted).order_by(documents.c.created_at, documents.c.serial))
    return [document_of(row) for row in found]


async def find_document(db: AsyncConnection, id: UUID) -> Document | None:
    row = (await db.execute(select(documents).where(documents.c.id == id))).one_or_none()
    return None if row is None else document_of(row)


async def find_document_of_payment(db: AsyncConnection, payment_id: UUID) -> Document | None:
    refs = select(payments.c.refs).where(payments.c.id == payment_id).scalar_subquery()
    wanted = or_(documents.c.payment_id == payment_id, documents.c.refs.bool_op("&&")(refs))
    found = await db.execute(select(documents).where(wanted).order_by(documents.c.issued_at, documents.c.serial))
    row = found.first()
    return None if row is None else document_of(row)


async def payment_id_of(db: AsyncConnection, purchase_id: UUID, refs: Collection[str]) -> UUID | None:
    """The row of the payment, where there is one yet."""
    wanted = select(payments.c.id).where(payments.c.purchase_id == purchase_id, overlaps(payments.c.refs, refs))
    return (await db.execute(wanted.order_by(payments.c.created_at, payments.c.id).limit(1))).scalar_one_or_none()


async def refunds_of(db: AsyncConnection, document: Document) -> list[Refund]:
    """What has gone back of the document's payment (of all payments that its purchase's invoice is for)."""
    paid = select(payments.c.id).where(overlaps(payments.c.refs, document.refs))
    found = await db.execute(
        select(refunds.c.created_at, refunds.c.amount, refunds.c.currency)
        .where(
            or_(refunds.c.payment_id == document.payment_id, refunds.c.payment_id.in_(paid)),
            refunds.c.status == "succeeded",
        )
        .order_by(refunds.c.created_at, refunds.c.id)
    )
    return [Refund(at=row.created_at, amount=Money(amount=row.amount, currency=row.currency)) for row in found]


async def others_of(db: AsyncConnection, document: Document) -> list[Paid]:
    """The other payments that an invoice is for; each payment that has a receipt stands for itself."""
    if document.kind != "invoice":
        return []
    found = await db.execute(
        select(payments.c.paid_at, payments.c.amount, payments.c.currency, payments.c.method)
        .where(
            payments.c.purchase_id == document.purchase_id,
            not_(overlaps(payments.c.refs, document.content.refs)),
            payments.c.status == "succeeded",
            payments.c.amount > 0,
            or_(payments.c.method.is_(None), payments.c.method.not_in(NOT_MONEY)),
        )
        .order_by(payments.c.paid_at, payments.c.id)
    )
    return [
        Paid(at=row.paid_at, amount=Money(amount=row.amount, currency=row.currency), method=row.method) for row in found
    ]


def document_of(row: Row[Any]) -> Document:
    return Document(
        id=row.id,
        kind=row.kind,
        purchase_id=row.purchase_id,
        payment_id=row.payment_id,
        refs=frozenset(row.refs),
        content=Content.model_validate(row.content),
    )
