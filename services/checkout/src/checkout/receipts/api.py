"""Receipts and invoices: listed and downloaded by whom they belong to."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, computed_field
from sqlalchemy import select

from checkout.purchases.dependencies import database_of
from checkout.receipts import repository
from checkout.receipts.document import Kind
from checkout.receipts.pdf import render
from checkout.receipts.repository import Document
from checkout.receipts.tables import documents
from contracts.money import Money
from kit.http.auth import Caller, CurrentCaller
from kit.http.errors import Problem
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(tags=["receipts"])

Limit = Annotated[int, Query(ge=1, le=200)]
_PDF: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"application/pdf": {}},
        "description": "The document, with the refunds and the other payments known now.",
    }
}


class Receipt(BaseModel):
    """A receipt, or a sponsor's invoice. `amount` is what was paid; `pdf` is the path of the document."""

    id: UUID
    kind: Kind
    number: str
    purchase_id: UUID
    payment_id: UUID | None
    student_id: UUID
    program: str
    amount: Money
    issued_at: datetime
    created_at: datetime

    @computed_field  # type: ignore[prop-decorator]
    @property
    def pdf(self) -> str:
        return f"/api/receipts/{self.id}/pdf"


@router.get("/api/receipts")
async def list_receipts(
    request: Request,
    caller: CurrentCaller,
    kind: Kind | None = None,
    purchase_id: UUID | None = None,
    student_id: UUID | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Receipt]:
    """The caller's own, newest first; staff see everybody's."""
    asked = {"kind": kind, "purchase_id": purchase_id, "student_id": student_id}
    content = documents.c.content
    wanted = select(documents, content["program"].astext.label("program"), content["paid"].label("amount")).where(
        *(documents.c[name] == value for name, value in asked.items() if value is not None)
    )
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        return await page_of(db, wanted, documents, Receipt, cursor=cursor, limit=limit)


@router.get("/api/receipts/{id}/pdf", response_class=Response, responses=_PDF)
async def download_receipt(request: Request, id: UUID, caller: CurrentCaller) -> Response:
    """The document as a PDF. Somebody else's is a 404."""
    return await _answer(request, caller, id)


@router.get("/api/payments/{payment_id}/receipt", response_class=Response, responses=_PDF)
async def download_receipt_of_payment(request: Request, payment_id: UUID, caller: CurrentCaller) -> Response:
    """The document of this payment as a PDF; of a sponsor's payment, the invoice of its purchase."""
    return await _answer(request, caller, payment_id, of_payment=True)


async def _answer(request: Request, caller: Caller, id: UUID, *, of_payment: bool = False) -> Response:
    find = repository.find_document_of_payment if of_payment else repository.find_document
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        document: Document | None = await find(db, id)
        refunds = await repository.refunds_of(db, document) if document else []
        others = await repository.others_of(db, document) if document else []
    if document is None:
        detail = (
            "There is no such receipt of yours; GET /api/receipts lists them. A payment has one once it is settled."
        )
        raise Problem(404, "unknown_receipt", detail)
    headers = {
        "Content-Disposition": f'attachment; filename="{document.content.filename}"',
        "Cache-Control": "private, no-cache",
    }
    return Response(render(document.content, refunds, others), media_type="application/pdf", headers=headers)
