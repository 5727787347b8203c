"""Client of an OpenAI-compatible API: `POST /chat/completions` with `stream: true`.

Source: https://platform.openai.com/docs/api-reference/chat (chunks as server-sent events, `[DONE]` at the end).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import httpx
from pydantic import BaseModel, Field, ValidationError

from instructor_assignment.prompt import Turn
from instructor_assignment.settings import ApiSettings

RESPONSE_LIMIT = 2 * 1024 * 1024
"""Bytes of a stream, which repeats its ids in each chunk."""
LINE_LIMIT = 64 * 1024
CONNECT_SECONDS = 5.0
CHARACTERS_PER_TOKEN = 16
"""More than any language has on average: an answer that is longer ignores its limit."""


class Failure(StrEnum):
    BUSY = "busy"
    """The API's own limit (429)."""
    UNAVAILABLE = "unavailable"


class CompletionError(Exception):
    """`charged`: the API may have begun to answer, and charge for it."""

    def __init__(self, what: str, *, charged: bool, failure: Failure = Failure.UNAVAILABLE) -> None:
        super().__init__(what)
        self.charged = charged
        self.failure = failure


@dataclass(frozen=True, kw_only=True)
class Delta:
    """A part of the answer. `tokens`: of prompt and answer, where the API counts them.

    complete: None while it goes on; False if it was ended at its limit
    """

    text: str = ""
    tokens: int | None = None
    complete: bool | None = None


class _Content(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    delta: _Content = _Content()
    finish_reason: str | None = None


class _Usage(BaseModel):
    total_tokens: int = Field(ge=0, le=10_000_000)


class _Chunk(BaseModel):
    choices: Annotated[list[_Choice], Field(max_length=16)] = []
    usage: _Usage | None = None


class Completions:
    def __init__(self, settings: ApiSettings) -> None:
        """The settings name an API."""
        self._model = settings.chat_model
        self._limit: dict[str, int] = {settings.chat_tokens_field: settings.chat_answer_tokens}
        self._most_characters = settings.chat_answer_tokens * CHARACTERS_PER_TOKEN
        # identity: a compressed answer could be larger than its bytes
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "User-Agent": "bursar"}
        if settings.chat_api_key is not None:
            headers["Authorization"] = f"Bearer {settings.chat_api_key.get_secret_value()}"
        idle = settings.chat_idle_seconds
        self._url = f"{str(settings.chat_api_base).rstrip('/')}/chat/completions"
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(idle, connect=min(CONNECT_SECONDS, idle)),
            follow_redirects=False,  # a redirect would send the key and the conversation to another host
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def stream(self, turns: Sequence[Turn]) -> AsyncGenerator[Delta]:
        """The answer in parts. Raises CompletionError. No `complete` at its end: it was cut off."""
        body = {
            "model": self._model,
            "messages": [{"role": turn.role, "content": turn.content} for turn in turns],
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._limit,
        }
        charged = False
        try:
            async with self._client.stream("POST", self._url, json=body) as answer:
                charged = answer.is_success
                _check(answer)
                characters = 0
                async with aclosing(_data(answer)) as lines:
                    async for data in lines:
                        delta = _delta(data)
                        characters += len(delta.text)
                        yield delta
                        if characters > self._most_characters:
                            yield Delta(complete=False)
                            return
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise CompletionError(type(error).__name__, charged=False) from error
        except httpx.HTTPError as error:  # also before the answer: the API may have read the question
            raise CompletionError(type(error).__name__, charged=True) from error
        except CompletionError as error:
            raise CompletionError(str(error), charged=charged, failure=error.failure) from error


def _check(answer: httpx.Response) -> None:
    if answer.status_code == 429:
        raise CompletionError("HTTP 429", charged=False, failure=Failure.BUSY)
    if not answer.is_success:
        raise CompletionError(f"HTTP {answer.status_code}", charged=False)
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        raise CompletionError("an answer that is no event stream", charged=True)


async def _data(answer: httpx.Response) -> AsyncGenerator[bytes]:
    """The `data` of each event, until `[DONE]`."""
    received, rest = 0, b""
    async for chunk in answer.aiter_raw():
        received += len(chunk)
        rest += chunk
        if received > RESPONSE_LIMIT:
            raise CompletionError(f"an answer of more than {RESPONSE_LIMIT} bytes", charged=True)
        *lines, rest = rest.split(b"\n")
        if max(map(len, (*lines, rest))) > LINE_LIMIT:
            raise CompletionError(f"a line of more than {LINE_LIMIT} bytes", charged=True)
        for line in lines:
            name, _, value = line.rstrip(b"\r").partition(b":")
            if name != b"data":
                continue
            if (value := value.strip()) == b"[DONE]":
                return
            yield value


def _delta(data: bytes) -> Delta:
    try:
        chunk = _Chunk.model_validate_json(data)
    except ValidationError:
        raise CompletionError("an event that is no chunk", charged=True) from None
    tokens = chunk.usage.total_tokens if chunk.usage is not None else None
    if not chunk.choices:
        return Delta(tokens=tokens)
    choice = chunk.choices[0]
    complete = None if choice.finish_reason is None else choice.finish_reason == "stop"
    return Delta(text=_storable(choice.delta.content or ""), tokens=tokens, complete=complete)


def _storable(text: str) -> str:
    """Without what PostgreSQL cannot store."""
    return text.replace("\x00", "").encode("utf-8", "ignore").decode()
