"""Published by notifications: what was sent. Contains no address and no text."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from contracts.envelope import Event


class NotificationEvent(Event):
    notification_id: UUID
    template: str = Field(max_length=100)
    channel: Literal["email", "webhook"]
    recipient: Literal["student", "sponsor", "admin"]
    student_id: UUID | None = None
    purchase_id: UUID | None = None


class NotificationSent(NotificationEvent):
    """The message was handed over for delivery."""

    type = "notification.sent.v1"


class NotificationFailed(NotificationEvent):
    """The message was not sent, or the outcome is unknown."""

    type = "notification.failed.v1"
    code: str = Field(max_length=100)
    attempts: int = Field(ge=1)
