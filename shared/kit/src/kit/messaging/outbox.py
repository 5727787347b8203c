"""Outbox: messages are rows of the caller's transaction; the relay publishes them after commit, at least once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Identity, Integer, LargeBinary, Table, Text, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.envelope import Envelope, Event
from kit.db.database import KIT_TABLES

EVENTS_EXCHANGE = "bursar.events"
WAKE_CHANNEL = "outgoing"
"""NOTIFY channel: rows were added to `outbox` or `jobs`."""

outbox = Table(
    "outbox",
    KIT_TABLES,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("message_key", Text, nullable=False, unique=True),
    Column("exchange", Text, nullable=False),
    Column("routing_key", Text, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("mandatory", Boolean, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("available_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("published_at", DateTime(timezone=True)),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("last_error", Text),
)


@dataclass(frozen=True, kw_only=True)
class OutgoingMessage:
    """A message as the broker gets it. `key` is unique: the same key twice is one message."""

    key: str
    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    mandatory: bool = False


def to_message(envelope: Envelope[Event], *, mandatory: bool = False) -> OutgoingMessage:
    """`mandatory`: if no queue is bound for this event, it stays in the outbox until one is."""
    return OutgoingMessage(
        key=envelope.id,
        exchange=EVENTS_EXCHANGE,
        routing_key=envelope.type,
        body=envelope.body(),
        headers=envelope.headers(),
        mandatory=mandatory,
    )


async def put(db: AsyncConnection, message: OutgoingMessage, *, available_at: datetime | None = None) -> None:
    """Adds the message to the caller's transaction. On commit, a trigger wakes the relay."""
    values = _values(message)
    if available_at is not None:
        values["available_at"] = available_at
    await db.execute(insert(outbox).values(**values).on_conflict_do_nothing(index_elements=["message_key"]))


async def put_all(db: AsyncConnection, messages: Sequence[OutgoingMessage]) -> None:
    """The same for many messages, in one round trip."""
    if messages:
        statement = insert(outbox).on_conflict_do_nothing(index_elements=["message_key"])
        await db.execute(statement, [_values(message) for message in messages])


def _values(message: OutgoingMessage) -> dict[str, Any]:
    return {
        "message_key": message.key,
        "exchange": message.exchange,
        "routing_key": message.routing_key,
        "headers": dict(message.headers),
        "body": message.body,
        "mandatory": message.mandatory,
    }


async def wake(db: AsyncConnection) -> None:
    """Wakes relay and job worker when the caller's transaction commits. Needed after an UPDATE that makes rows due;
    inserts do it by trigger."""
    await db.execute(select(func.pg_notify(WAKE_CHANNEL, "")))
