"""enrollment's own tables."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Integer, Table, Text, UniqueConstraint, Uuid, func

from kit.db import new_metadata

metadata = new_metadata()

enrollments = Table(
    "enrollments",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("student_id", Uuid, nullable=False, index=True),
    Column("program_slug", Text, nullable=False, index=True),
    Column("program_id", Text, nullable=False),
    Column("program_name", Text, nullable=False),
    Column("provider", Text),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("payment_status", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("purchase_id", Uuid, index=True),
    Column("funding_source", Text),
    Column("revision", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("student_id", "program_slug"),
)
