"""A service that lacks events asks for them. Who has published them publishes them again."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from contracts.envelope import Event

MOST_IDS = 500
EventId = Annotated[str, Field(min_length=1, max_length=300)]


class EventsRequested(Event):
    """A service lacks these events. Their publishers publish them again, with the same ids, and who has processed them
    ignores them."""

    type = "events.requested.v1"
    event_ids: tuple[EventId, ...] = Field(min_length=1, max_length=MOST_IDS)
