"""A message of the chat, as the API returns it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, Field


class Role(StrEnum):
    STUDENT = "student"
    INSTRUCTOR = "instructor"


class State(StrEnum):
    ANSWERING = "answering"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


class AnsweredBy(StrEnum):
    MODEL = "model"
    TUTOR = "tutor"


class ChatMessage(BaseModel):
    id: UUID
    assignment_id: UUID
    role: Role
    text: str = Field(description="plain text, whatever it looks like")
    state: State = Field(
        description="answering: it is being written; incomplete: it was cut off; failed: there is no answer"
    )
    tokens: int = Field(description="of an answer: those of the language model that it has used, with its question")
    question_id: UUID | None = Field(description="the question that this answers")
    answered_by: AnsweredBy | None = Field(
        description="model: a language model; tutor: an automatic search in the program's texts, no language model"
    )
    created_at: datetime


class Exchange(BaseModel):
    """A question and its answer."""

    question: ChatMessage
    answer: ChatMessage
