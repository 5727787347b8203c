"""Erasures, and which services have made them."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from checkout.schema import metadata

erasures = Table(
    "erasures",
    metadata,
    Column("student_id", Uuid, primary_key=True),
    Column("requested_by", Text, nullable=False),
    Column("requested_at", DateTime(timezone=True), nullable=False),
    Column("request_id", Text),
)
"""`request_id`: of the event of the latest request."""

erasure_receipts = Table(
    "erasure_receipts",
    metadata,
    Column("student_id", Uuid, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("erased_at", DateTime(timezone=True), nullable=False),
    Column("rows", JSONB, nullable=False),
    Column("request_id", Text),
)
"""`request_id`: of the event that the service has heard. `rows`: how many were deleted or changed, by table."""
