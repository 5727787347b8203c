"""checkout's own tables."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from kit.db import new_metadata

metadata = new_metadata()


def _times() -> tuple[Column[object], Column[object]]:
    return (
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


programs = Table(
    "programs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("slug", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("total_cost", BigInteger),
    Column("provider", Text),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    *_times(),
)

sponsors = Table(
    "sponsors",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("code", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("finance_email", Text),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    *_times(),
)

OPEN = text("state IN ('created', 'session_open')")

purchases = Table(
    "purchases",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("student_id", Uuid, nullable=False),
    Column("program_id", Text, nullable=False),
    Column("program_slug", Text, nullable=False),
    Column("program_name", Text, nullable=False),
    Column("provider", Text),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("payer", Text, nullable=False),
    Column("funding_source", Text),
    Column("payment_type", Text, nullable=False),
    Column("instalments", Integer),
    Column("state", Text, nullable=False),
    Column("session_params", JSONB, nullable=False),
    Column("stripe_checkout_session_id", Text, unique=True),
    Column("checkout_url", Text),
    Column("expires_at", DateTime(timezone=True)),
    Column("stripe_subscription_id", Text),
    Column("stripe_schedule_id", Text),
    *_times(),
    Index("uq_purchases_open", "student_id", "program_slug", unique=True, postgresql_where=OPEN),
)

funding_payments = Table(
    "funding_payments",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("student_id", Uuid, nullable=False, index=True),
    Column("program_id", Text, nullable=False, index=True),
    Column("funding_source", Text, nullable=False, server_default="WIOA"),
    Column("stripe_checkout_session_id", Text, unique=True),
    Column("stripe_payment_intent_id", Text),
    Column("status", Text, nullable=False, server_default="created", index=True),
    Column("amount", Numeric(10, 2), nullable=False),
    Column("paid_at", DateTime(timezone=True)),
    *_times(),
)
"""`id` is the purchase's."""

funding_payment_changes = Table(
    "funding_payment_changes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("funding_payment_id", Uuid, nullable=False, index=True),
    Column("student_id", Uuid, nullable=False),
    Column("actor", Text, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("operation", Text, nullable=False),
    Column("old", JSONB),
    Column("new", JSONB),
)
"""Written by a trigger, for each change, whoever makes it."""

seats = Table(
    "seats",
    metadata,
    Column("student_id", Uuid, primary_key=True),
    Column("program_slug", Text, primary_key=True),
    Column("enrollment_id", Uuid, nullable=False),
    Column("status", Text, nullable=False),
    Column("purchase_id", Uuid),
    Column("revision", Integer, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""What enrollment has said of a student's seats: a projection, never written by the API."""

contacts = Table(
    "contacts",
    metadata,
    Column("student_id", Uuid, primary_key=True),
    Column("email", Text, nullable=False),
    Column("name", Text),
    Column("revision", Integer, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
