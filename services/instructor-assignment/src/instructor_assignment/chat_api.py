"""The routes of the chat: a student with their own instructor. Staff do not read it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Annotated, cast
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from instructor_assignment import chat_repository
from instructor_assignment.answer import Answer
from instructor_assignment.chat import Chat
from instructor_assignment.chat_message import AnsweredBy, ChatMessage, Exchange, State
from instructor_assignment.completions import Failure
from instructor_assignment.domain import Status
from instructor_assignment.problems import INSTRUCTOR_BUSY, INSTRUCTOR_UNAVAILABLE
from instructor_assignment.settings import ApiSettings
from instructor_assignment.student_assignment import StudentAssignment, own_assignment
from instructor_assignment.tables import chat_messages
from kit.http.auth import OnlyStudent
from kit.http.dependencies import CallerUnitOfWork
from kit.http.idempotency import IDEMPOTENT, REPLAYED, key_of
from kit.http.openapi import example
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(prefix="/api/instructors/mine/{assignment_id}", tags=["chat"])

EVENT_STREAM = "text/event-stream"
_RETRY = {"Retry-After": "30"}
_STREAMED = {
    "description": "The question and its answer. With `Accept: text/event-stream`, as events: `question` (a "
    "ChatMessage), `delta` (`text`: a part of the answer) repeatedly, and in the end `answer` (a ChatMessage).",
    "content": {EVENT_STREAM: {"schema": {"type": "string"}, "example": 'event: delta\ndata: {"text": "Clean "}\n\n'}},
}


class Question(BaseModel, json_schema_extra=example(text="How do I disinfect my clippers?")):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    text: str = Field(min_length=1, max_length=8_000)


class ChatView(BaseModel):
    """What the student can do in this chat."""

    assignment: StudentAssignment
    answered_by: AnsweredBy = Field(description="who answers the next question")
    can_ask: bool = Field(description="false while the student waits for an instructor, and after a release")
    longest_question: int = Field(description="characters")
    questions_left: int = Field(description="today (UTC)")


def _chat(request: Request) -> Chat:
    return cast(Chat, request.app.state.chat)


CurrentChat = Annotated[Chat, Depends(_chat)]


@router.get("")
async def read_chat(
    request: Request, caller: OnlyStudent, uow: CallerUnitOfWork, chat: CurrentChat, assignment_id: UUID
) -> ChatView:
    """The assignment, who answers, and what is left of today's limit."""
    settings: ApiSettings = request.app.state.settings
    assignment = await own_assignment(uow.db, assignment_id, caller.id)
    return ChatView(
        assignment=assignment,
        answered_by=chat.answered_by,
        can_ask=assignment.status == Status.ASSIGNED,
        longest_question=settings.chat_question_characters,
        questions_left=await chat.questions_left(uow.db, caller.id, uow.now),
    )


@router.get("/messages")
async def list_chat_messages(
    caller: OnlyStudent,
    uow: CallerUnitOfWork,
    assignment_id: UUID,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[ChatMessage]:
    """The conversation, newest first; also after the assignment was released."""
    await own_assignment(uow.db, assignment_id, caller.id)
    selected = chat_repository.readable(assignment_id)
    return await page_of(uow.db, selected, chat_messages, ChatMessage, cursor=cursor, limit=limit)


@router.post("/messages", status_code=201, response_model=Exchange, responses={201: _STREAMED}, dependencies=IDEMPOTENT)
async def ask_instructor(
    request: Request, caller: OnlyStudent, chat: CurrentChat, assignment_id: UUID, body: Question
) -> Response:
    """Asks the instructor, and answers with the whole answer, or streams it to clients that accept text/event-stream.

    The question is stored first. An answer that is cut off, because the client disconnects or the language model fails,
    is stored as `incomplete`; an answer of which there is nothing, as `failed`. The same Idempotency-Key returns what
    is stored, and does not ask again. The language model gets the program's texts and this conversation, and no name,
    address or id.
    """
    asked = await chat.ask(caller, assignment_id, body.text, key_of(request))
    streamed = EVENT_STREAM in request.headers.get("accept", "")
    if isinstance(asked.answer, ChatMessage):
        return _stored(asked.question, asked.answer, streamed=streamed)
    await asked.answer.started()
    match asked.answer.failure if not asked.answer.texts else None:
        case Failure.BUSY:
            raise INSTRUCTOR_BUSY(headers=_RETRY)
        case Failure.UNAVAILABLE:
            raise INSTRUCTOR_UNAVAILABLE(headers=_RETRY)
    if streamed:
        return _event_stream(_events(asked.question, asked.answer))
    return _json(asked.question, await asked.answer.stored())


def _stored(question: ChatMessage, answer: ChatMessage, *, streamed: bool) -> Response:
    """What the first request with this key was answered."""
    if answer.state == State.FAILED:
        raise INSTRUCTOR_UNAVAILABLE(headers=REPLAYED)
    if not streamed:
        return _json(question, answer, headers=REPLAYED)

    async def events() -> AsyncIterator[bytes]:
        yield _event("question", question)
        yield _event("delta", {"text": answer.text})
        yield _event("answer", answer)

    return _event_stream(events(), headers=REPLAYED)


async def _events(question: ChatMessage, answer: Answer) -> AsyncIterator[bytes]:
    """A client that disconnects ends the answer."""
    try:
        yield _event("question", question)
        async with aclosing(answer.parts()) as parts:
            async for part in parts:
                yield _event("delta", {"text": part})
        yield _event("answer", await answer.stored())
    finally:
        answer.stop()


def _json(question: ChatMessage, answer: ChatMessage, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(jsonable_encoder(Exchange(question=question, answer=answer)), 201, headers=headers)


def _event_stream(events: AsyncIterator[bytes], headers: Mapping[str, str] | None = None) -> StreamingResponse:
    unbuffered = {"X-Accel-Buffering": "no", **(headers or {})}  # nginx collects an answer otherwise
    return StreamingResponse(events, 201, headers=unbuffered, media_type=EVENT_STREAM)


def _event(name: str, data: ChatMessage | Mapping[str, str]) -> bytes:
    """JSON has no line breaks, so one line of data is enough."""
    return f"event: {name}\ndata: {json.dumps(jsonable_encoder(data))}\n\n".encode()
