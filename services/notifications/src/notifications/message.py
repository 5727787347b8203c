"""A message to one recipient: what it says, when it may go out, and which other messages make it redundant. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from contracts.people import Contact

Channel = Literal["email", "webhook"]
Recipient = Literal["student", "sponsor", "admin"]

_NOTIFICATIONS = uuid5(NAMESPACE_URL, "urn:bursar:notification")
_NONE: frozenset[str] = frozenset()


class DeliveryDelay(StrEnum):
    """What a message waits for before it goes out; `Rules.duration` says how long."""

    NONE = "none"
    DOCUMENT = "document"  # the receipt's PDF
    LINKED_EVENTS = "linked_events"  # events that link the references of one payment
    NEW_ATTEMPT = "new_attempt"  # the payer may be trying another card right now
    REFUND = "refund"  # the refund, whose mail also says that the enrollment has ended
    ASSIGNMENTS = "assignments"  # the instructor and the course provider's answer
    CONTACT = "contact"  # somebody may still add an address


@dataclass(frozen=True, kw_only=True)
class Message:
    """
    A topic is a piece of information, such as a payment's reference; it is communicated at most once.

    key:           names the cause: the same key is the same message
    facts_key:     key of the facts that the message is derived from, now and again when it goes out
    context:       the template's variables
    contact:       where it goes if the recipient is a sponsor, or a student whose address is not on file
    topics:        topics that only one message may cover (every reference of a receipt's payment)
    suppressed_by: topics that make this message redundant once another message has covered them
    yields_to:     topics that make this message redundant as soon as another message is about to cover them
    after:         topics that another message must have covered before
    also_covers:   other topics of this message, so that no separate message is needed
    document_ids:  the attachments
    """

    key: str
    template: str
    recipient: Recipient
    facts_key: str | None
    context: Mapping[str, Any]  # plain values of many types, as the template needs them
    student_id: UUID | None
    purchase_id: UUID | None = None
    channel: Channel = "email"
    contact: Contact | None = None
    delay: DeliveryDelay = DeliveryDelay.NONE
    topics: frozenset[str] = _NONE
    suppressed_by: frozenset[str] = _NONE
    yields_to: frozenset[str] = _NONE
    after: frozenset[str] = _NONE
    also_covers: frozenset[str] = _NONE
    document_ids: tuple[UUID, ...] = ()

    @property
    def id(self) -> UUID:
        return notification_id(self.key)

    @property
    def covers(self) -> frozenset[str]:
        return self.topics | self.also_covers

    @property
    def relevant_topics(self) -> frozenset[str]:
        """Every topic that decides whether this message may go out."""
        return self.topics | self.suppressed_by | self.yields_to | self.after | self.also_covers


def notification_id(key: str) -> UUID:
    """The same key always has the same id."""
    return uuid5(_NOTIFICATIONS, key)
