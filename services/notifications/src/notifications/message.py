"""A message that somebody should get: what it is about, when it may go, and what makes it superfluous. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from contracts.people import Contact

Channel = Literal["email", "webhook"]
Recipient = Literal["student", "sponsor", "admin"]

_NOTIFICATIONS = uuid5(NAMESPACE_URL, "urn:bursar:notification")
_NOTHING: frozenset[str] = frozenset()


class Hold(StrEnum):
    """How long a message waits for facts that may still be on their way."""

    NOW = "now"
    DOCUMENT = "document"  # the receipt's document
    SETTLE = "settle"  # the references of one payment find each other
    FAILURE = "failure"  # the payer may be trying another card at this moment
    GRACE = "grace"  # the instructor's and the provider's word
    OVERDUE = "overdue"  # somebody has had time enough


@dataclass(frozen=True, kw_only=True)
class Message:
    """
    key:      names the cause: the same key is the same message, for ever
    about:    a key of the facts that it is derived from, and derived from again when it goes out
    told:     what its template says
    contact:  where it goes when the recipient is a sponsor, or a student who has told us no address
    once:     marks that one message only may carry (any reference of the payment of a receipt)
    unless:   marks that, on another message, make this one superfluous
    yields:   marks of another message that makes this one superfluous as soon as it is wanted, gone out or not
    after:    marks that another message must have carried before
    tells:    what it tells besides, so that nobody else needs to
    attached: the documents that go along
    """

    key: str
    template: str
    recipient: Recipient
    about: str | None
    told: Mapping[str, Any]
    student_id: UUID | None
    purchase_id: UUID | None = None
    channel: Channel = "email"
    contact: Contact | None = None
    hold: Hold = Hold.NOW
    once: frozenset[str] = _NOTHING
    unless: frozenset[str] = _NOTHING
    yields: frozenset[str] = _NOTHING
    after: frozenset[str] = _NOTHING
    tells: frozenset[str] = field(default=_NOTHING)
    attached: tuple[UUID, ...] = ()

    @property
    def id(self) -> UUID:
        return notification_id(self.key)

    @property
    def marks(self) -> frozenset[str]:
        return self.once | self.unless | self.yields | self.after | self.tells


def notification_id(key: str) -> UUID:
    """A message has one id, whoever wants it first."""
    return uuid5(_NOTIFICATIONS, key)
