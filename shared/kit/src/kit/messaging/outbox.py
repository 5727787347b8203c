"""Outbox: messages are rows of the caller's transaction; the relay publishes them after commit, at least once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Identity,
    Integer,
    LargeBinary,
    Table,
    Text,
    insert,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import FetchedValue

from contracts.envelope import PREFIX, Envelope, Event
from kit.db.database import KIT_TABLES
from kit.runtime.trace import trace_id

log = structlog.get_logger(__name__)

EVENTS_EXCHANGE = "bursar.events"
CHANNEL = "outbox"
"""NOTIFY channel: rows were added to `outbox_due`."""

outbox_messages = Table(
    "outbox_messages",
    KIT_TABLES,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("month", Date, FetchedValue(), primary_key=True),
    Column("message_key", Text, nullable=False),
    Column("exchange", Text, nullable=False),
    Column("routing_key", Text, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("mandatory", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), FetchedValue(), nullable=False),
)
"""Every message, partitioned by month and never changed."""

outbox_due = Table(
    "outbox_due",
    KIT_TABLES,
    Column("id", BigInteger, primary_key=True),
    Column("month", Date, nullable=False),
    Column("available_at", DateTime(timezone=True), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text),
)
"""The messages that are not published. A row leaves when the broker has confirmed its message."""


@dataclass(frozen=True, kw_only=True)
class OutgoingMessage:
    """A message as the broker gets it. `key` is unique: the same key twice is one message.

    mandatory: if no queue is bound for the message, it stays in the outbox until one is
    """

    key: str
    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    mandatory: bool = True


def to_message(envelope: Envelope[Event]) -> OutgoingMessage:
    return OutgoingMessage(
        key=envelope.id,
        exchange=EVENTS_EXCHANGE,
        routing_key=envelope.type,
        body=envelope.body(),
        headers=envelope.headers(),
    )


def log_message(message: OutgoingMessage) -> None:
    """One line for each decision, as every decision is an event. Ids only: bodies have personal data."""
    log.info(
        message.routing_key,
        id=message.key,
        subject=message.headers.get(f"{PREFIX}subject"),
        correlation=message.headers.get(f"{PREFIX}correlationid"),
        trace=trace_id(message.headers.get(f"{PREFIX}traceparent", "")),
    )


# `outbox` is the table of version 1, see kit.db.delivery_ddl. OFFSET 0 makes it a look-up by index for each key: the
# planner may read whole partitions otherwise.
_PUT_ALL = text(
    """
    WITH message AS (
        INSERT INTO outbox_messages (message_key, exchange, routing_key, headers, body, mandatory)
        SELECT message_key, exchange, routing_key, CAST(headers AS jsonb), body, mandatory
        FROM unnest(
            CAST(:keys AS text[]), CAST(:exchanges AS text[]), CAST(:routing_keys AS text[]), CAST(:headers AS text[]),
            CAST(:bodies AS bytea[]), CAST(:mandatory AS boolean[])
        ) WITH ORDINALITY AS new (message_key, exchange, routing_key, headers, body, mandatory, position)
        WHERE NOT EXISTS (SELECT FROM outbox_messages AS old WHERE old.message_key = new.message_key OFFSET 0)
            AND NOT EXISTS (SELECT FROM outbox AS old WHERE old.message_key = new.message_key OFFSET 0)
        ORDER BY position
        ON CONFLICT (message_key, month) DO NOTHING
        RETURNING id, month
    )
    INSERT INTO outbox_due (id, month, available_at)
    SELECT id, month, coalesce(CAST(:available_at AS timestamptz), now()) FROM message
    """
)


async def put(db: AsyncConnection, message: OutgoingMessage, *, available_at: datetime | None = None) -> None:
    """Adds the message to the caller's transaction. On commit, a trigger wakes an idle relay."""
    await put_all(db, [message], available_at=available_at)


async def put_all(
    db: AsyncConnection, messages: Sequence[OutgoingMessage], *, available_at: datetime | None = None
) -> None:
    """The same for many messages, in one statement. They are numbered, and published, in this order."""
    if messages:
        await db.execute(
            _PUT_ALL,
            {
                "keys": [message.key for message in messages],
                "exchanges": [message.exchange for message in messages],
                "routing_keys": [message.routing_key for message in messages],
                "headers": [json.dumps(dict(message.headers)) for message in messages],
                "bodies": [message.body for message in messages],
                "mandatory": [message.mandatory for message in messages],
                "available_at": available_at,
            },
        )


async def put_published(db: AsyncConnection, message: OutgoingMessage) -> None:
    """Keeps the message for `kit.messaging.publishers`; it is never due. The caller publishes it."""
    await db.execute(
        insert(outbox_messages).values(
            message_key=message.key,
            exchange=message.exchange,
            routing_key=message.routing_key,
            headers=dict(message.headers),
            body=message.body,
            mandatory=message.mandatory,
        )
    )


async def wake(db: AsyncConnection, channel: str) -> None:
    """Wakes who listens on this channel when the caller's transaction commits. Needed after an UPDATE that makes rows
    due; inserts do it by trigger."""
    await db.execute(text("SELECT pg_notify(:channel, '')"), {"channel": channel})
