"""The dead letters of all services, for admins. Only this process can read all of them: see decision 30.

Nothing is vouched for: consumers judge a replayed message by its first publisher, whom the broker or a row in their own
database names, and not the message.
"""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json

from contracts.text import storable
from kit.http import audit
from kit.http.auth import Admin
from kit.http.openapi import example
from kit.http.paging import Page
from kit.http.problems import INVALID_REQUEST, Problem
from kit.messaging.dead_letter import LONGEST_ID, DeadLetter
from webhook_gateway.admin_context import CurrentContext, Reason
from webhook_gateway.problems import UNKNOWN_DEAD_LETTER

router = APIRouter(prefix="/api/admin/dead-letters", tags=["operations"])

MOST_LISTED = 5_000
"""Of a queue: the broker has no way to begin further on."""
MOST_REPLAYED = 100
MOST_DISCARDED = 20

QueueName = Annotated[str, Field(min_length=1, max_length=200)]
EventId = Annotated[str, Field(min_length=1, max_length=LONGEST_ID)]


class DeadLetterQueue(BaseModel):
    queue: str = Field(description="the queue whose consumer failed")
    messages: int


class DeadLetterView(BaseModel):
    """Without its content, which may have personal data."""

    queue: str
    event_id: str
    type: str
    login: str = Field(
        description="the broker's user who has put it there: the service's, if its consumer has refused the message"
    )
    publisher: str = Field(
        description="who published it first, as the message says; a replay is judged by the service's database"
    )
    reason: str
    attempts: int
    dead_lettered_at: str = Field(description="empty if the broker has dead-lettered it")


class DeadLetterDetail(DeadLetterView):
    stack: str
    headers: dict[str, str]
    body: Any = Field(description="JSON, or text if it is none")


class Replay(
    BaseModel, json_schema_extra=example(queue="enrollment.payments", event_ids=["evt_123/payment.succeeded.v1"])
):
    model_config = ConfigDict(extra="forbid")

    queue: QueueName
    event_ids: list[EventId] | None = Field(default=None, min_length=1, max_length=MOST_REPLAYED)
    all: bool = Field(default=False, description=f"instead of `event_ids`: the first {MOST_REPLAYED}")


class Discard(
    BaseModel,
    json_schema_extra=example(
        queue="enrollment.payments", event_ids=["evt_123/payment.succeeded.v1"], reason="A test event."
    ),
):
    model_config = ConfigDict(extra="forbid")

    queue: QueueName
    event_ids: list[EventId] = Field(min_length=1, max_length=MOST_DISCARDED)
    reason: Reason


class Changed(BaseModel):
    messages: int = Field(description="how many were replayed or discarded")


@router.get("/queues")
async def list_dead_letter_queues(_: Admin, context: CurrentContext) -> Page[DeadLetterQueue]:
    """All queues, with how many dead letters each has."""
    async with context.dead_letters(*context.queues) as queues:
        counts = await asyncio.gather(*(letters.count() for letters in queues))
    found = zip(context.queues, counts, strict=True)
    return Page(items=[DeadLetterQueue(queue=queue, messages=count) for queue, count in found])


@router.get("")
async def list_dead_letters(
    _: Admin,
    context: CurrentContext,
    queue: Annotated[str, Query(max_length=200)],
    cursor: Annotated[int, Query(ge=0, lt=MOST_LISTED, description="`next` of the previous page")] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[DeadLetterView]:
    """The dead letters of a queue, oldest first, at most 5,000. A page begins later in the queue if messages were
    replayed or discarded since the one before it."""
    async with context.dead_letters(queue) as (letters,):
        found = await letters.letters(skip=cursor, limit=limit + 1)
    after = cursor + limit
    more = len(found) > limit and after < MOST_LISTED
    return Page(items=[_view(queue, each) for each in found[:limit]], next=str(after) if more else None)


@router.get("/message")
async def show_dead_letter(
    _: Admin,
    context: CurrentContext,
    queue: Annotated[str, Query(max_length=200)],
    event_id: Annotated[str, Query(max_length=LONGEST_ID)],
) -> DeadLetterDetail:
    """One dead letter with its content. Recorded in the audit trail, as the content may have personal data."""
    async with context.dead_letters(queue) as (letters,):
        found = await letters.find(event_id, origin=audit.current_origin())
    if found is None:
        raise _unknown()
    shown = {name: str(value)[:500] for name, value in found.headers.items() if not name.startswith("bursar-")}
    headers = storable(shown)
    return DeadLetterDetail(**_view(queue, found).model_dump(), stack=found.stack, headers=headers, body=_body(found))


@router.post("/replay")
async def replay_dead_letters(body: Replay, _: Admin, context: CurrentContext) -> Changed:
    """Returns messages to their queue. Replaying a message twice has one effect; what fails again is a dead letter
    again. Each is recorded in the audit trail."""
    if body.all == (body.event_ids is not None):
        raise INVALID_REQUEST("Name either `event_ids`, or `all`: true.")
    wanted = frozenset(body.event_ids or ())
    async with context.dead_letters(body.queue) as (letters,):
        count = await letters.replay(
            lambda each: body.all or each.event_id in wanted, limit=MOST_REPLAYED, origin=audit.current_origin()
        )
    if not count and not body.all:
        raise _unknown()
    return Changed(messages=count)


@router.post("/discard")
async def discard_dead_letters(body: Discard, _: Admin, context: CurrentContext) -> Changed:
    """Deletes messages, at most 20, also if more have these ids. Each is recorded in the audit trail, with the
    reason."""
    wanted = frozenset(body.event_ids)
    async with context.dead_letters(body.queue) as (letters,):
        count = await letters.discard(
            lambda each: each.event_id in wanted,
            limit=MOST_DISCARDED,
            origin=audit.current_origin(),
            reason=body.reason,
        )
    if not count:
        raise _unknown()
    return Changed(messages=count)


def _view(queue: str, letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        queue=queue,
        event_id=letter.event_id,
        type=letter.type,
        login=letter.login,
        publisher=letter.publisher,
        reason=letter.reason,
        attempts=letter.attempts,
        dead_lettered_at=letter.dead_lettered_at,
    )


def _body(letter: DeadLetter) -> Any:  # Any: JSON
    try:
        content = from_json(letter.body, allow_inf_nan=False)  # refuses what is nested deeply, and lone surrogates
        json.dumps(content, allow_nan=False)  # 1e400 is infinite
        return content
    except ValueError:
        return letter.body.decode("utf-8", "backslashreplace")


def _unknown() -> Problem:
    return UNKNOWN_DEAD_LETTER()
