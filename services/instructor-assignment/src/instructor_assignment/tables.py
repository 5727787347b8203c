"""instructor-assignment's own tables."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, ForeignKey, Integer, Table, Text, UniqueConstraint, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB

from kit.db.database import new_metadata

metadata = new_metadata()

ai_instructors = Table(
    "ai_instructors",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("program_slug", Text, nullable=False, index=True),
    Column("is_active", Boolean, nullable=False),
    Column("name", Text, nullable=False),
    Column("specialty", Text),
    Column("avatar", Text),
    Column("capacity", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

ai_instructor_assignments = Table(
    "ai_instructor_assignments",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("student_id", Uuid, nullable=False),
    Column("program_slug", Text, nullable=False),
    Column("program_id", Text, nullable=False),
    Column("program_name", Text),
    Column("provider", Text),
    Column("status", Text, nullable=False),
    Column("instructor_id", Uuid, ForeignKey("ai_instructors.id")),
    Column("reason", Text),
    Column("purchase_id", Uuid),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("cause", JSONB),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("student_id", "program_slug"),
)
