"""The settings of instructor-assignment, read from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AnyHttpUrl, Field, SecretStr, field_validator, model_validator

from kit.runtime import service
from ledger.policy import PolicySettings

ANSWER_SECONDS = 100
"""The longest that an answer may take: a proxy waits two minutes for the first byte."""


class WorkerSettings(PolicySettings, service.WorkerSettings):
    """Consumers, relay and migrate.

    keep_chat_days: how long the relay keeps what students and instructors have written
    """

    keep_chat_days: int = Field(default=365, ge=2)


class ApiSettings(service.ApiSettings):
    """
    chat_api_base:          of an OpenAI-compatible API, up to and with /v1; empty: the automatic tutor answers
    chat_api_key:           sent as a bearer token; empty: none is sent
    chat_model:             the model's name there
    chat_tokens_field:      what the API calls the limit of an answer; newer models of OpenAI: max_completion_tokens
    chat_idle_seconds:      how long the API may send nothing
    chat_answer_seconds:    how long an answer may take altogether
    chat_answer_tokens:     the longest answer
    chat_history_messages:  how many earlier messages of the conversation are sent along
    chat_question_characters, chat_questions_per_day, chat_student_tokens_per_day: limits for each student
    chat_school_tokens_per_day: the limit for all students together, which is the limit of what a day can cost
    chat_texts_file:        YAML with the school's own texts, in the form of programs.yaml; empty: programs.yaml
    support_email:          whom the tutor names if it finds nothing

    Days are those of UTC. Tokens are those of questions, texts and answers together, as the API counts them.
    """

    chat_api_base: AnyHttpUrl | None = None
    chat_api_key: SecretStr | None = None
    chat_model: str = ""
    chat_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    chat_idle_seconds: float = Field(default=30, gt=0, le=ANSWER_SECONDS)
    chat_answer_seconds: float = Field(default=60, gt=0, le=ANSWER_SECONDS)
    chat_answer_tokens: int = Field(default=800, ge=16, le=32_000)
    chat_history_messages: int = Field(default=10, ge=0, le=100)
    chat_question_characters: int = Field(default=2_000, ge=50, le=8_000)
    chat_questions_per_day: int = Field(default=50, ge=1)
    chat_student_tokens_per_day: int = Field(default=200_000, ge=1)
    chat_school_tokens_per_day: int = Field(default=2_000_000, ge=1)
    chat_texts_file: Path | None = None
    support_email: str = ""

    @field_validator("chat_api_base", "chat_api_key", "chat_texts_file", mode="before")
    @classmethod
    def _empty(cls, value: object) -> object:
        return value or None

    @model_validator(mode="after")
    def _model(self) -> ApiSettings:
        if self.chat_api_base is not None and not self.chat_model:
            raise ValueError("set CHAT_MODEL, or leave CHAT_API_BASE empty")
        return self
