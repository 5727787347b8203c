"""webhook-gateway's tables, which together are the journal. Migrations 0003, 0006 and 0008 have their indexes and
functions.

`month` is the month in which an event was received: the partition of `journal_events` that has it.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
    false,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

from kit.db.database import new_metadata

metadata = new_metadata()


class Source(StrEnum):
    """How an event came, and so how the relay knows that it is Stripe's."""

    WEBHOOK = "webhook"
    """Delivered: its signature is stored with it."""
    FETCHED = "fetched"
    """Read from Stripe's API by the relay or the reconciler. Only the worker's login can write it."""
    PREVIOUS = "previous"
    """Written by a version that stored no signatures, or copied from its table."""
    ERASED = "erased"
    """Of a person who was erased: without personal data and signature, which was verified before. Only the worker's
    login can write it."""


class Lane(StrEnum):
    LIVE = "live"
    REPLAY = "replay"
    """Published when nothing else is due, and at a limited rate."""


journal_entries = Table(
    "journal_entries",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("month", Date, nullable=False),
    Column("published_at", DateTime(timezone=True)),
    Column("event_count", Integer),
    Column("translation", LargeBinary),
)
"""All events that were ever journaled, and what was published for each. Rows are never deleted."""

journal_events = Table(
    "journal_events",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("month", Date, primary_key=True),
    Column("type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("signature", Text),
    Column("source", Text, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""The events as received. Only an erasure changes them; old months are dropped whole."""

journal_due = Table(
    "journal_due",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("month", Date, nullable=False),
    Column("lane", Text, nullable=False, server_default=Lane.LIVE),
    Column("available_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("last_error", Text),
)
"""The events to publish."""

delivery_counts = Table(
    "delivery_counts",
    metadata,
    Column("day", Date, primary_key=True),
    Column("slot", SmallInteger, primary_key=True),
    Column("delivered", BigInteger, nullable=False),
    Column("fetched", BigInteger, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
)
"""How many events were journaled on a day (UTC), by how they came, and how many deliveries were of an event that was
there already. Several rows a day, so that gateways do not wait for each other. The journal's functions write it."""

journal_replay = Table("journal_replay", metadata, Column("next_at", DateTime(timezone=True), nullable=False))
"""One row: when the next replayed events may be published."""

journal_reconciliation = Table(
    "journal_reconciliation",
    metadata,
    Column("reconciled_until", DateTime(timezone=True), nullable=False),
    Column("next_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("completed_at", DateTime(timezone=True)),
)
"""One row: until when (by Stripe's clock) the journal was compared with Stripe's events, when the next comparison may
begin, and when the last one was completed."""

journal_objects = Table(
    "journal_objects",
    metadata,
    Column("object_id", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("month", Date, nullable=False),
)
"""The journaled events that report of an object at Stripe: of itself, or of a refund or dispute of it."""

object_comparison = Table(
    "object_comparison",
    metadata,
    Column("begins_at", DateTime(timezone=True), nullable=False),
    Column("indexed_until", DateTime(timezone=True), nullable=False),
    Column("next_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("since", DateTime(timezone=True)),
    Column("through", DateTime(timezone=True)),
    Column("completed_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""One row: objects older than `begins_at` are not compared; events received before `indexed_until` are in
`journal_objects`; when the next comparison may begin; the period of the one that has begun and is not complete; when
the last one was completed; and since when there are comparisons of objects."""

object_cursors = Table(
    "object_cursors",
    metadata,
    Column("object_kind", Text, primary_key=True),
    Column("last_id", Text),
    Column("completed", Boolean, nullable=False, server_default=false()),
    Column("objects", Integer, nullable=False, server_default="0"),
    Column("restored", Integer, nullable=False, server_default="0"),
)
"""How far the comparison in progress has come. Stripe lists the objects of a kind newest first."""

differences = Table(
    "differences",
    metadata,
    Column("object_kind", Text, primary_key=True),
    Column("object_id", Text, primary_key=True),
    Column("field", Text, primary_key=True),
    Column("stripe", Text),
    Column("published", Text),
    Column("purchase_id", Uuid),
    Column("refs", JSONB, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("first_seen_at", DateTime(timezone=True), nullable=False),
    Column("last_seen_at", DateTime(timezone=True), nullable=False),
    Column("closed_at", DateTime(timezone=True)),
)
"""Where an object at Stripe differs from what was published about it; closed when the two agree again."""
