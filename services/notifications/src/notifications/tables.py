"""The tables of the notifications database."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, ForeignKey, Integer, LargeBinary, Table, Text, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB

from kit.db.database import new_metadata

metadata = new_metadata()

notifications = Table(
    "notifications",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("template", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("student_id", Uuid),  # the owner for row-level security; null for admins' messages
    Column("about_student_id", Uuid),
    Column("purchase_id", Uuid),
    Column("facts_key", Text),  # the facts that the message is derived from; null: `context` has it all
    Column("context", JSONB),
    Column("cause", JSONB),  # the event that scheduled the first round
    Column("status", Text, nullable=False),
    Column("code", Text),
    Column("round", Integer, nullable=False, server_default="1"),  # one job for each
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("handed_over_at", DateTime(timezone=True)),  # from then on the server may have the message
    Column("attachment", Text),  # file names
    Column("sent_at", DateTime(timezone=True)),  # when the server accepted it
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

topics = Table(
    "topics",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("notification_id", Uuid, ForeignKey("notifications.id"), nullable=False, index=True),
)

contacts = Table(
    "contacts",
    metadata,
    Column("student_id", Uuid, primary_key=True),
    Column("email", Text, nullable=False),
    Column("name", Text),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("event_id", Text, nullable=False),
)

documents = Table(
    "documents",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("student_id", Uuid, nullable=False),
    Column("filename", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
