"""One dead letter, as an operator reads it: text that no answer could carry is replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from contracts.envelope import BadEnvelope, attributes
from contracts.text import storable
from kit.messaging.delivered import UNREADABLE_HEADER, why_unreadable
from kit.messaging.publishers import PUBLISHER_HEADER, UNSIGNED

UNKNOWN = "unknown"
LONGEST_ID = 300
_NOT_REPLAYED = ("bursar-", "x-")
"""Headers of the kit and of the broker."""
_BY_THE_BROKER = {
    "delivery_limit": "redelivery limit exceeded: its consumer crashed",
    "rejected": "rejected: see the log of its consumer",
}


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """`event_id` of a message without any id, or with one that is too long, is derived from its body.

    login:     of the broker, which has checked it: the service's own if its consumer has refused the message; empty if
               the message names none
    publisher: the first one, as the message says; a replay is judged by what the service's database says
    """

    event_id: str
    type: str
    login: str
    publisher: str
    reason: str
    attempts: int
    dead_lettered_at: str
    stack: str
    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether its headers could be decoded. Without them it cannot be published again."""
        return UNREADABLE_HEADER not in self.headers or self.type != UNKNOWN


def read(message: AbstractIncomingMessage) -> DeadLetter:
    try:
        event = attributes(message.headers)
    except BadEnvelope:
        event = {}
    headers: dict[str, Any] = dict(message.headers)
    attempts = headers.get("bursar-attempts")
    login = message.user_id or UNSIGNED
    broker_reason = _BY_THE_BROKER.get(str(headers.get("x-first-death-reason")), "unknown")
    id = event.get("id") or message.message_id
    if not id or len(id) > LONGEST_ID:
        id = f"unknown-{sha256(message.body).hexdigest()[:12]}"
    return DeadLetter(
        event_id=storable(id),
        type=storable(event.get("type", UNKNOWN)),
        login=login,
        publisher=storable(str(headers.get(PUBLISHER_HEADER, login))),
        reason=storable(str(headers.get("bursar-reason") or why_unreadable(message) or broker_reason)),
        attempts=attempts if isinstance(attempts, int) else 0,
        dead_lettered_at=storable(str(headers.get("bursar-dead-lettered-at", ""))),
        stack=storable(str(headers.get("bursar-stack", ""))),
        body=message.body,
        headers=headers,
    )


def copy_of(message: AbstractIncomingMessage) -> aio_pika.Message:
    """For a replay, without a publisher."""
    return aio_pika.Message(
        message.body,
        headers={name: value for name, value in message.headers.items() if not name.startswith(_NOT_REPLAYED)},
        message_id=message.message_id,
        type=message.type,
        correlation_id=message.correlation_id,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )
