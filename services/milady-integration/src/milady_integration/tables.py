"""The tables of milady-integration."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, ForeignKey, Integer, Table, Text, UniqueConstraint, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB

from kit.db.database import new_metadata

metadata = new_metadata()

milady_programs = Table(
    "milady_programs",
    metadata,
    Column("program_slug", Text, primary_key=True),
    Column("program_id", Text),
    Column("title", Text, nullable=False),
    Column("courses", JSONB, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

enrollments = Table(
    "enrollments",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("student_id", Uuid, nullable=False),
    Column("program_slug", Text, nullable=False, index=True),
    Column("program_id", Text, nullable=False),
    Column("program_name", Text),
    Column("provider", Text),
    Column("standing", Text, nullable=False),
    Column("desired_state", Text),
    Column("reason", Text),
    Column("purchase_id", Uuid),
    Column("contact_name", Text),
    Column("contact_email", Text),
    Column("cause", JSONB(none_as_null=True)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("student_id", "program_slug"),
)
"""Every enrollment, by the payment facts, in whatever program: one that becomes Milady's later finds who has paid."""

contacts = Table(
    "contacts",
    metadata,
    Column("student_id", Uuid, primary_key=True),
    Column("name", Text),
    Column("email", Text, nullable=False),
    Column("as_of", DateTime(timezone=True), nullable=False),
)
"""Students' contact data, for enrollments whose payment names none, as a sponsor's does."""

provider_enrollments = Table(
    "provider_enrollments",
    metadata,
    Column("id", Uuid, ForeignKey("enrollments.id"), primary_key=True),
    Column("student_id", Uuid, nullable=False),
    Column("program_slug", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("desired_state", Text, nullable=False),
    Column("reason", Text),
    Column("purchase_id", Uuid),
    Column("step", Text),
    Column("failed_step", Text),
    Column("failure", Text),
    Column("generation", Integer, nullable=False),
    Column("announced", Boolean, nullable=False),
    Column("milady_enrollment_id", Text),
    Column("links", JSONB, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("student_id", "program_slug"),
)
"""What the provider has: one row per enrollment in a program of Milady's."""
