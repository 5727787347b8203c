"""webhook-gateway's tables, which together are the journal. Migration 0003 has their indexes and functions.

`month` is the month in which an event was received: the partition of `journal_events` that has it.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Column, Date, DateTime, Integer, LargeBinary, Table, Text, func

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
"""The events as received. Never changed; old months are dropped whole."""

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
