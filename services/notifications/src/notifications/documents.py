"""Receipts and invoices, stored until they are attached to a mail. The API never returns their content."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.checkout import ReceiptIssued
from contracts.envelope import Envelope
from kit.messaging.retention import Expiry
from kit.runtime.failures import Permanent
from notifications.tables import documents


@dataclass(frozen=True)
class Document:
    filename: str
    content: bytes = field(repr=False)


_SAVE_ALL = text(
    "INSERT INTO documents (id, student_id, filename, content) SELECT id, student_id, filename, content FROM unnest("
    "CAST(:ids AS uuid[]), CAST(:students AS uuid[]), CAST(:filenames AS text[]), CAST(:contents AS bytea[]))"
    " AS new (id, student_id, filename, content) ORDER BY id ON CONFLICT DO NOTHING"
)


async def save_all(db: AsyncConnection, issued: Sequence[ReceiptIssued]) -> None:
    """Raises Permanent if a content is not base64. The documents of an erased student have none."""
    issued = [each for each in issued if each.pdf]
    if not issued:
        return
    try:
        contents = [base64.b64decode(each.pdf, validate=True) for each in issued]
    except binascii.Error:
        raise Permanent("the document is not base64") from None
    await db.execute(
        _SAVE_ALL,
        {
            "ids": [each.document_id for each in issued],
            "students": [each.student_id for each in issued],
            "filenames": [each.filename for each in issued],
            "contents": contents,
        },
    )


def expiry(keep: timedelta) -> Expiry:
    """A mail that is sent after that has no attachment."""
    return Expiry(table="documents", column="created_at", keep=keep)


def without_content(event: Envelope[Any]) -> Envelope[Any]:
    """For the facts, which are loaded as a whole for every message. Only a ReceiptIssued has content."""
    if not isinstance(event.data, ReceiptIssued):
        return event
    return replace(event, data=event.data.model_copy(update={"pdf": ""}), received=b"")


async def read(db: AsyncConnection, ids: Sequence[UUID]) -> list[Document]:
    """In the order of `ids`; those that are not stored are left out."""
    rows = (await db.execute(select(documents).where(documents.c.id.in_(ids)))).all()
    found = {row.id: Document(row.filename, row.content) for row in rows}
    return [found[id] for id in ids if id in found]
