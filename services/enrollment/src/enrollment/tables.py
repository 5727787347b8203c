"""enrollment's tables."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, ForeignKey, Integer, Table, Text, UniqueConstraint, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB

from kit.db.database import new_metadata

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
    Column("kind", Text, nullable=False),
    Column("track", Text),
    Column("tier", Text),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("payment_status", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("purchase_id", Uuid, index=True),
    Column("funding_source", Text),
    Column("enrolled_at", DateTime(timezone=True)),
    Column("completed_at", DateTime(timezone=True)),
    Column("revision", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("student_id", "program_slug"),
)

curricula = Table(
    "curricula",
    metadata,
    Column("program_slug", Text, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("projects", JSONB, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

project_progress = Table(
    "project_progress",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("enrollment_id", Uuid, ForeignKey("enrollments.id"), nullable=False),
    Column("student_id", Uuid, nullable=False),
    Column("position", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("status", Text, nullable=False),
    UniqueConstraint("enrollment_id", "position"),
)

step_progress = Table(
    "step_progress",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("project_id", Uuid, ForeignKey("project_progress.id"), nullable=False),
    Column("student_id", Uuid, nullable=False),
    Column("position", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("done_at", DateTime(timezone=True)),
    UniqueConstraint("project_id", "position"),
)
