"""Document numbers and documents in the database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.payments import repository as payments
from checkout.payments.domain import NOT_MONEY, PaymentRecord
from checkout.purchases.repository import PurchaseRow
from checkout.receipts.domain import Balance, Content, Kind, OtherPayment, Refund, method_name
from checkout.receipts.tables import document_series, documents
from checkout.schema import insert_rows, one_of, overlaps, update_rows
from contracts.money import Money
from contracts.payments import PaymentMethodDetails


@dataclass(frozen=True, kw_only=True)
class Document:
    id: UUID
    kind: Kind
    purchase_id: UUID
    payment_id: UUID | None
    refs: frozenset[str]
    content: Content


async def next_numbers(db: AsyncConnection, series: str, number: int, *, at: datetime) -> tuple[range, datetime]:
    """The next `number` numbers of the series and their time of issue, which is never before that of the previous ones.

    Concurrent callers wait until this transaction ends, which is why there are no gaps.
    """
    first = insert(document_series).values(name=series, last=number, issued_at=at)
    taken = await db.execute(
        first.on_conflict_do_update(
            index_elements=["name"],
            set_={
                "last": document_series.c.last + number,
                "issued_at": func.greatest(document_series.c.issued_at, first.excluded.issued_at),
            },
        ).returning(document_series.c.last, document_series.c.issued_at)
    )
    row = taken.one()
    return range(row.last - number + 1, row.last + 1), row.issued_at


async def insert_documents(db: AsyncConnection, numbered: Sequence[tuple[str, int, Document]]) -> None:
    """Each with its series and its serial number."""
    await insert_rows(
        db,
        documents,
        [
            {
                "id": document.id,
                "kind": document.kind,
                "series": series,
                "serial": serial,
                "number": document.content.number,
                "payment_id": document.payment_id,
                "purchase_id": document.purchase_id,
                "student_id": document.content.student_id,
                "refs": sorted(document.refs),
                "content": document.content.model_dump(mode="json"),
                "issued_at": document.content.issued_at,
            }
            for series, serial, document in numbered
        ],
    )


async def write_refs(db: AsyncConnection, linked: Sequence[Document], *, at: datetime) -> None:
    """Links the documents to their payments. Their contents never change."""
    rows = (
        {"id": each.id, "refs": sorted(each.refs), "payment_id": each.payment_id, "updated_at": at} for each in linked
    )
    await update_rows(db, documents, list(rows))


async def move_documents(db: AsyncConnection, kept: UUID, other: UUID) -> None:
    """Links the documents of the payment `other` to the payment `kept`."""
    await db.execute(update(documents).where(documents.c.payment_id == other).values(payment_id=kept))


async def documents_of(db: AsyncConnection, purchase_ids: Collection[UUID], refs: Collection[str]) -> list[Document]:
    """The purchases' documents, and any other document with one of these references; oldest first."""
    wanted = or_(one_of(documents.c.purchase_id, purchase_ids), overlaps(documents.c.refs, refs))
    found = await db.execute(select(documents).where(wanted).order_by(documents.c.created_at, documents.c.serial))
    return [_document(row) for row in found]


async def find_document(db: AsyncConnection, id: UUID) -> Document | None:
    row = (await db.execute(select(documents).where(documents.c.id == id))).one_or_none()
    return None if row is None else _document(row)


async def find_document_of_payment(db: AsyncConnection, payment_id: UUID) -> Document | None:
    payment = await payments.read_payment(db, payment_id)
    refs = payment.refs if payment is not None else []
    wanted = or_(documents.c.payment_id == payment_id, overlaps(documents.c.refs, refs))
    found = await db.execute(select(documents).where(wanted).order_by(documents.c.issued_at, documents.c.serial))
    row = found.first()
    return None if row is None else _document(row)


async def refunds_of(db: AsyncConnection, document: Document) -> list[Refund]:
    """The succeeded refunds of the document's payment; of an invoice, of all payments that it is for. Oldest first."""
    refunds = await payments.succeeded_refunds(db, document.payment_id, document.refs)
    return [Refund(at=refund.created_at, amount=refund.money) for refund in refunds]


def other_payments_of(document: Document, records: Sequence[PaymentRecord]) -> list[OtherPayment]:
    """The other payments that an invoice is for, oldest first. Other documents are for one payment each. `records`: of
    its purchase."""
    if document.kind != "invoice":
        return []
    others = [
        OtherPayment(at=payment.paid_at, amount=payment.money, method=_method(payment))
        for payment in sorted(records, key=lambda each: each.id)
        if payment.status == "succeeded"
        and payment.paid_at is not None
        and payment.amount > 0
        and payment.method not in NOT_MONEY
        and not set(document.content.refs) & set(payment.refs)
    ]
    return sorted(others, key=lambda each: each.at)


def balance_of(document: Document, purchase: PurchaseRow | None, records: Sequence[PaymentRecord]) -> Balance | None:
    """`purchase`, `records`: the document's, with its payments. None for an invoice, which states what is still due,
    and for a membership, which is paid by the period."""
    if purchase is None or document.kind == "invoice" or purchase.payment_flow == "membership":
        return None
    paid = sum(
        payment.amount - payment.tax
        for payment in records
        if payment.status == "succeeded" and payment.method not in NOT_MONEY and payment.currency == purchase.currency
    )
    return Balance(
        paid=Money(amount=paid, currency=purchase.currency),
        total=Money(amount=purchase.amount - purchase.accepted, currency=purchase.currency),
    )


async def with_current_method(db: AsyncConnection, document: Document) -> Content:
    """Stripe may say after the document was issued which card or account it was."""
    payment = None if document.payment_id is None else await payments.read_payment(db, document.payment_id)
    if payment is None or payment.method_details is None:
        return document.content
    return document.content.model_copy(update={"method": _method(payment)})


def _document(row: Row[Any]) -> Document:
    return Document(
        id=row.id,
        kind=row.kind,
        purchase_id=row.purchase_id,
        payment_id=row.payment_id,
        refs=frozenset(row.refs),
        content=Content.model_validate(row.content),
    )


def _method(payment: PaymentRecord) -> str | None:
    details = payment.method_details
    return method_name(payment.method, PaymentMethodDetails.model_validate(details) if details else None)
