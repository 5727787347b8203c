"""Lists receipts and invoices, and returns them as PDFs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, computed_field, model_validator
from sqlalchemy import case, func, select

from checkout.payments.domain import NOT_MONEY
from checkout.payments.repository import payments_of
from checkout.payments.tables import payments
from checkout.problems import UNKNOWN_RECEIPT
from checkout.purchases.repository import read_row
from checkout.purchases.tables import purchases
from checkout.receipts import repository
from checkout.receipts.domain import Kind, method_name
from checkout.receipts.repository import Document
from checkout.receipts.tables import documents
from contracts.money import Money
from contracts.payments import PaymentMethodDetails
from kit.db.unit_of_work import UnitOfWork
from kit.http.dependencies import CallerUnitOfWork
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(tags=["receipts"])

Limit = Annotated[int, Query(ge=1, le=200)]
_PDF: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"application/pdf": {"schema": {"type": "string", "format": "binary"}}},
        "description": "The document, with its refunds and other payments to date.",
    }
}


class ReceiptBalance(BaseModel):
    """Of the whole purchase, to date, without tax. Minor units of `currency`."""

    paid: int
    total: int
    due: int
    currency: str


class Receipt(BaseModel):
    """A receipt, or a sponsor's invoice. `amount`: what was paid; `method`: how; `pdf`: the path of the PDF. `balance`
    null: of a membership, which is paid by the period."""

    id: UUID
    kind: Kind
    number: str
    purchase_id: UUID
    payment_id: UUID | None
    student_id: UUID
    program: str
    amount: Money
    method: str | None
    balance: ReceiptBalance | None
    issued_at: datetime
    created_at: datetime

    @model_validator(mode="before")
    @classmethod
    def _of_row(cls, row: dict[str, Any]) -> dict[str, Any]:
        details = row["method_details"]
        method = method_name(row["method"], PaymentMethodDetails.model_validate(details)) if details else row["method"]
        balance = None
        if row["total"] is not None:
            total, paid = int(row["total"]), int(row["paid"])
            balance = {"paid": paid, "total": total, "due": max(total - paid, 0), "currency": row["currency"]}
        return {**row, "method": method, "balance": balance}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def pdf(self) -> str:
        return f"/api/receipts/{self.id}/pdf"


@router.get("/api/receipts")
async def list_receipts(
    uow: CallerUnitOfWork,
    kind: Kind | None = None,
    purchase_id: UUID | None = None,
    student_id: UUID | None = None,
    number: Annotated[str | None, Query(max_length=50)] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Receipt]:
    """The caller's receipts, newest first; for case managers, their caseload's; for admins, everyone's."""
    content = documents.c.content
    of_purchase = purchases.c.id == documents.c.purchase_id
    paid = select(func.coalesce(func.sum(payments.c.amount - payments.c.tax), 0)).where(
        payments.c.purchase_id == documents.c.purchase_id,
        payments.c.status == "succeeded",
        payments.c.currency == purchases.c.currency,
        func.coalesce(payments.c.method, "").not_in(NOT_MONEY),
    )
    details = select(payments.c.method_details).where(payments.c.id == documents.c.payment_id)
    has_balance = purchases.c.payment_flow != "membership"
    wanted = select(
        documents,
        content["program"].astext.label("program"),
        content["paid"].label("amount"),
        content["method"].astext.label("method"),
        details.scalar_subquery().label("method_details"),
        paid.correlate(documents, purchases).scalar_subquery().label("paid"),
        case((has_balance, purchases.c.amount - purchases.c.accepted)).label("total"),
        purchases.c.currency,
    ).outerjoin(purchases, of_purchase)
    if kind is not None:
        wanted = wanted.where(documents.c.kind == kind)
    if purchase_id is not None:
        wanted = wanted.where(documents.c.purchase_id == purchase_id)
    if student_id is not None:
        wanted = wanted.where(documents.c.student_id == student_id)
    if number is not None:
        wanted = wanted.where(documents.c.number == number)
    return await page_of(uow.db, wanted, documents, Receipt, cursor=cursor, limit=limit)


@router.get("/api/receipts/{id}/pdf", response_class=Response, responses=_PDF)
async def download_receipt(uow: CallerUnitOfWork, id: UUID) -> Response:
    """The document as a PDF. 404 for another student's."""
    return await _pdf(uow, await repository.find_document(uow.db, id))


@router.get("/api/payments/{payment_id}/receipt", response_class=Response, responses=_PDF)
async def download_receipt_of_payment(uow: CallerUnitOfWork, payment_id: UUID) -> Response:
    """The payment's receipt as a PDF; for a sponsor's payment, the invoice of the purchase."""
    return await _pdf(uow, await repository.find_document_of_payment(uow.db, payment_id))


async def _pdf(uow: UnitOfWork, document: Document | None) -> Response:
    from checkout.receipts.pdf import render  # 11 MB, which a process that nobody asks for a PDF does not need

    if document is None:
        raise UNKNOWN_RECEIPT()
    refunds = await repository.refunds_of(uow.db, document)
    records = await payments_of(uow.db, document.purchase_id)
    others = repository.other_payments_of(document, records)
    balance = repository.balance_of(document, await read_row(uow.db, document.purchase_id), records)
    content = await repository.with_current_method(uow.db, document)
    headers = {
        "Content-Disposition": f'attachment; filename="{document.content.filename}"',
        "Cache-Control": "private, no-cache",
    }
    return Response(render(content, refunds, others, balance), media_type="application/pdf", headers=headers)
