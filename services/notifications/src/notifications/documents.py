"""Receipts and invoices, stored until they are attached to a mail. The API never returns their content."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.checkout import ReceiptIssued
from contracts.envelope import Envelope
from kit.messaging.housekeeping import Expiry
from kit.runtime.failures import Permanent
from notifications.tables import documents


@dataclass(frozen=True)
class Document:
    filename: str
    content: bytes = field(repr=False)


async def save(db: AsyncConnection, issued: ReceiptIssued) -> None:
    """Raises Permanent if the content is not base64."""
    try:
        content = base64.b64decode(issued.pdf, validate=True)
    except binascii.Error:
        raise Permanent("the document is not base64") from None
    row = {
        "id": issued.document_id,
        "student_id": issued.student_id,
        "filename": issued.filename,
        "content": content,
    }
    await db.execute(insert(documents).values(row).on_conflict_do_nothing())


def expiry(keep: timedelta) -> Expiry:
    """A mail that is sent after that has no attachment."""
    return Expiry(table="documents", column="created_at", keep=keep)


def without_content(event: Envelope[ReceiptIssued]) -> Envelope[ReceiptIssued]:
    """For the facts, which are loaded as a whole for every message."""
    return replace(event, data=event.data.model_copy(update={"pdf": ""}))


async def read(db: AsyncConnection, ids: Sequence[UUID]) -> list[Document]:
    """In the order of `ids`; those that are not stored are left out."""
    rows = (await db.execute(select(documents).where(documents.c.id.in_(ids)))).all()
    found = {row.id: Document(row.filename, row.content) for row in rows}
    return [found[id] for id in ids if id in found]
