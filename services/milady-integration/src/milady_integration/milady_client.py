"""Client of the provider's API.

A call returns a valid response, or raises Transient (retry with the same key) or Refused.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from kit.runtime.failures import Permanent, Transient

RESPONSE_LIMIT = 256 * 1024
"""Bytes; a valid response is never larger."""
CALL_SECONDS = 15.0
"""For a whole call: per-read timeouts do not bound a response that trickles in."""
LONGEST_RETRY_AFTER_SECONDS = 3600.0

_CODE = re.compile(r"[a-z0-9_.-]{1,60}")
_TRANSIENT_STATUS = frozenset((408, 425))


class Refused(Permanent):
    """The provider rejected the request. `code` is the provider's error code, or `http_<status>`."""

    def __init__(self, code: str) -> None:
        super().__init__(f"Milady refused: {code}")
        self.code = code


class NotFound(Refused):
    """HTTP 404."""


class ProviderError(Transient):
    """No response in time, a server error, or an invalid response. The request may have taken effect."""


class RateLimited(Transient):
    """HTTP 429: no request is sent until Retry-After is over."""


def _storable(text: str) -> str:
    """Third-party text without what PostgreSQL cannot store (NUL, lone surrogates)."""
    return text.replace("\x00", "").encode("utf-8", "ignore").decode()


class Link(BaseModel):
    title: Annotated[str, AfterValidator(_storable), Field(max_length=300)]
    url: str = Field(max_length=2000, pattern=r"^https?://[^\s<>\"\x00]+$")


class RemoteEnrollment(BaseModel):
    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_:.-]{0,199}$")
    student_ref: str
    program: str
    status: Literal["active", "withdrawn"]
    links: Annotated[list[Link], Field(max_length=100)] = []


class RemoteEnrollments(BaseModel):
    items: list[RemoteEnrollment]


M = TypeVar("M", bound=BaseModel)


class MiladyClient:
    """`clock` counts seconds; it measures Retry-After."""

    def __init__(
        self,
        base: str,
        api_key: str,
        *,
        seconds: float = CALL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._not_before = 0.0
        self._client = httpx.AsyncClient(
            base_url=base,
            headers={"Authorization": f"Bearer {api_key}", "Accept": "application/json", "User-Agent": "bursar"},
            timeout=httpx.Timeout(min(10.0, seconds), connect=min(3.0, seconds)),
            follow_redirects=False,  # a redirect would send the API key and personal data to another host
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def enroll(
        self,
        *,
        key: str,
        student_ref: str,
        program: str,
        course_ids: list[str],
        name: str | None,
        email: str | None,
    ) -> RemoteEnrollment:
        """Enrolls once per key, however often it is called. The same key requires the same arguments."""
        body: dict[str, Any] = {"student_ref": student_ref, "program": program, "course_ids": course_ids}
        body |= {field: value for field, value in (("name", name), ("email", email)) if value}
        found = await self._call("POST", "/v1/enrollments", RemoteEnrollment, key=key, json=body)
        if (found.student_ref, found.program) != (student_ref, program):
            raise ProviderError("response for another student or program")
        return found

    async def find(self, *, student_ref: str, program: str) -> list[RemoteEnrollment]:
        """The student's active enrollments in the program."""
        params = {"student_ref": student_ref}
        found = await self._call("GET", "/v1/enrollments", RemoteEnrollments, params=params)
        return [e for e in found.items if (e.student_ref, e.program, e.status) == (student_ref, program, "active")]

    async def check(self) -> None:
        """Asks for a student who does not exist. Raises Transient or Refused unless the provider accepts our key."""
        await self.find(student_ref=str(UUID(int=0)), program="none")

    async def withdraw(self, milady_enrollment_id: str, *, key: str) -> None:
        """Ends the enrollment. One that is withdrawn already or does not exist is a success."""
        path = f"/v1/enrollments/{quote(milady_enrollment_id, safe='')}/withdraw"
        try:
            ended = await self._call("POST", path, RemoteEnrollment, key=key)
        except NotFound:
            return
        if ended.status != "withdrawn":
            raise ProviderError("enrollment still active after withdrawal")

    async def _call(self, method: str, path: str, model: type[M], *, key: str | None = None, **sent: Any) -> M:
        if self._clock() < self._not_before:
            raise RateLimited("waiting for Retry-After")
        headers = {"Idempotency-Key": key} if key else {}
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._client.stream(method, path, headers=headers, **sent) as response,
            ):
                body = await _read(response)
        except (httpx.HTTPError, TimeoutError) as error:
            raise ProviderError(f"no response: {type(error).__name__}") from error
        if not response.is_success:
            self._raise_for(response, body)
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            raise ProviderError("invalid response") from error

    def _raise_for(self, response: httpx.Response, body: bytes) -> None:
        status = response.status_code
        code = _code(body)
        if response.is_redirect or status < 400:
            raise Refused("redirected" if status >= 300 else f"http_{status}")
        if status == 429:
            self._not_before = max(self._not_before, self._clock() + _retry_after(response))
            raise RateLimited("HTTP 429")
        if status >= 500 or status in _TRANSIENT_STATUS:
            raise ProviderError(f"HTTP {status}")
        if (status, code) == (409, "request_in_progress"):
            raise ProviderError("first request with this key still in progress")
        raise (NotFound if status == 404 else Refused)(code or f"http_{status}")


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > RESPONSE_LIMIT:
            raise ProviderError(f"response larger than {RESPONSE_LIMIT} bytes")
    return bytes(body)


class _Error(BaseModel):
    code: str


class _ErrorBody(BaseModel):
    error: _Error


def _code(body: bytes) -> str | None:
    """The provider's error code; None if there is none that is safe to log."""
    try:
        code = _ErrorBody.model_validate_json(body).error.code
    except ValidationError:
        return None
    return code if _CODE.fullmatch(code) else None


def _retry_after(response: httpx.Response) -> float:
    """Seconds, from either form of RFC 9110, 10.2.3; one second if it cannot be parsed."""
    value = response.headers.get("retry-after", "")
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), LONGEST_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 1.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - datetime.now(UTC)).total_seconds(), 0.0), LONGEST_RETRY_AFTER_SECONDS)
