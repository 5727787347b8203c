"""reporting's tables. Nobody may change or delete events and audit records."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Date, DateTime, Integer, LargeBinary, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.schema import FetchedValue

from kit.db.database import new_metadata

metadata = new_metadata()

events = Table(
    "events",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("month", Date, FetchedValue(), primary_key=True),
    Column("type", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("received_at", DateTime(timezone=True), FetchedValue(), nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("causation_id", Text, nullable=False),
    Column("purchase_id", Uuid),
    Column("student_id", Uuid),
    Column("refs", ARRAY(Text), nullable=False),
    Column("data", JSON, nullable=False),
)
"""Every event, without personal data. Partitioned by the month in which it was received."""

audit_records = Table(
    "audit_records",
    metadata,
    Column("position", BigInteger, primary_key=True),
    Column("id", Uuid, nullable=False, unique=True),
    Column("event_id", Text, nullable=False, unique=True),
    Column("service", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("actor_role", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object_type", Text, nullable=False),
    Column("object_id", Text, nullable=False),
    Column("purchase_id", Uuid),
    Column("student_id", Uuid),
    Column("refs", ARRAY(Text), nullable=False),
    Column("before", JSON(none_as_null=True)),
    Column("after", JSON(none_as_null=True)),
    Column("reason", Text),
    Column("reason_erased", Boolean, FetchedValue(), nullable=False),
    Column("address", Text),
    Column("trace_id", Text),
    Column("previous_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
"""Administrative acts. Each row's hash covers its content and the hash of the row before it. `reason_erased`: its
reason was erased with the person whom it is about, so its hash can no longer be computed from what is left."""

invariant_runs = Table(
    "invariant_runs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("requested_at", DateTime(timezone=True), FetchedValue(), nullable=False),
    Column("claimed_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("students", Integer),
    Column("breaks", Integer),
    Column("error", Text),
)

invariant_breaks = Table(
    "invariant_breaks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("created_at", DateTime(timezone=True), FetchedValue(), nullable=False),
    Column("run_id", Uuid, nullable=False),
    Column("part", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("student_id", Uuid),
    Column("purchase_id", Uuid),
    Column("program_slug", Text),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    Column("requested_at", DateTime(timezone=True)),
)
"""`run_id`: the last run that has found it. `ended_at`: when a run has no longer found it. `requested_at`: when the
events were asked for from which the part follows."""

payments = Table(
    "payments",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("purchase_id", Uuid),
    Column("program_slug", Text),
    Column("kind", Text),
    Column("payer", Text),
    Column("funding_source", Text),
    Column("method", Text),
    Column("currency", Text),
    Column("status", Text, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("refunded", BigInteger, nullable=False),
    Column("lost", BigInteger, nullable=False),
    Column("disputed", Boolean, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("failure_code", Text),
    Column("occurred_at", DateTime(timezone=True)),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)
"""What the payment facts say of each payment, for the figures (see `figures.domain.PaymentRow`)."""

catalog_items = Table(
    "catalog_items",
    metadata,
    Column("slug", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("category", Text),
    Column("owner_id", Uuid),
    Column("revision", Integer, nullable=False),
)
"""What the figures group by. The highest revision is current."""
