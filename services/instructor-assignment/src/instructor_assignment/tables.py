"""The tables of instructor-assignment."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)
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
    Column("students", Integer, nullable=False, server_default="0"),  # counted by a trigger of the assignments
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

ai_instructor_assignments = Table(
    "ai_instructor_assignments",
    metadata,
    # written by the projection of the payment facts
    Column("id", Uuid, primary_key=True),
    Column("student_id", Uuid, nullable=False),
    Column("program_slug", Text, nullable=False),
    Column("program_id", Text, nullable=False),
    Column("program_name", Text),
    Column("provider", Text),
    Column("desired_status", Text, nullable=False),
    Column("reason", Text),
    Column("purchase_id", Uuid),
    Column("cause", JSONB),
    # written under the program's lock
    Column("status", Text, nullable=False, server_default="released"),
    Column("instructor_id", Uuid, ForeignKey("ai_instructors.id")),
    Column("since", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("revision", Integer, nullable=False, server_default="0"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("student_id", "program_slug"),
)

chat_messages = Table(
    "chat_messages",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("assignment_id", Uuid, ForeignKey("ai_instructor_assignments.id", ondelete="CASCADE"), nullable=False),
    Column("student_id", Uuid, nullable=False),
    Column("role", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("state", Text, nullable=False),
    # of an answer: reserved while it is written, used afterward
    Column("tokens", Integer, nullable=False, server_default="0"),
    Column("question_id", Uuid, ForeignKey("chat_messages.id", ondelete="CASCADE"), unique=True),
    Column("answered_by", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)

chat_usage = Table(
    "chat_usage",
    metadata,
    Column("day", Date, primary_key=True),  # UTC
    Column("tokens", BigInteger, nullable=False),  # of all students, counted by triggers of chat_messages
)
