"""Receipts and invoices, and their numbers."""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, Column, DateTime, Index, Table, Text, UniqueConstraint, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB

from checkout.schema import metadata, times

document_series = Table(
    "document_series",
    metadata,
    Column("name", Text, primary_key=True),
    Column("last", BigInteger, nullable=False),
    Column("issued_at", DateTime(timezone=True), nullable=False),
)
"""The last number issued in each series, and when. Committed together with its document, so there are no gaps."""

documents = Table(
    "documents",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("kind", Text, nullable=False),
    Column("series", Text, nullable=False),
    Column("serial", BigInteger, nullable=False),
    Column("number", Text, nullable=False, unique=True),
    Column("payment_id", Uuid, index=True),
    Column("refs", ARRAY(Text), nullable=False),
    Column("purchase_id", Uuid, nullable=False, index=True),
    Column("student_id", Uuid, nullable=False, index=True),
    Column("content", JSONB, nullable=False),
    Column("issued_at", DateTime(timezone=True), nullable=False),
    *times(),
    UniqueConstraint("series", "serial"),
    Index("ix_documents_created_at", "created_at", "id"),
    Index("ix_documents_refs", "refs", postgresql_using="gin"),
    Index("uq_documents_invoice", "purchase_id", unique=True, postgresql_where=text("kind = 'invoice'")),
)
"""`content`: everything the document says, as of its issue; `refs`: the references of its payment, which events
add to. A sponsor's purchase has one invoice, however many payments it is paid in."""
