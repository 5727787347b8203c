"""The provider's API. Every call ends in an answer that fits, in Transient (try again, same key) or in Refused."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote

import httpx
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from kit.runtime.failures import Permanent, Transient
from milady_integration.breaker import Breaker

ANSWER_LIMIT = 256 * 1024
"""Bytes; no honest answer is larger."""
CALL_SECONDS = 15.0
"""For a whole call, so that an answer that comes in drops does not hold us."""
LONGEST_HOLD_SECONDS = 3600.0

_CODE = re.compile(r"[a-z0-9_.-]{1,60}")
_TRANSIENT_STATUS = frozenset((408, 425))


class Refused(Permanent):
    """The provider understood and will not. `code` is its own where it has one."""

    def __init__(self, code: str) -> None:
        super().__init__(f"Milady refused: {code}")
        self.code = code


class NotThere(Refused):
    """404."""


class Unwell(Transient):
    """No answer in time, a server error, or something that is no answer of this API. It may have acted."""


class Busy(Transient):
    """It answers, and asks to be asked later."""


def _storable(text: str) -> str:
    """What somebody else has written, without what no database takes."""
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
    def __init__(
        self, base: str, api_key: str, *, breaker: Breaker | None = None, seconds: float = CALL_SECONDS
    ) -> None:
        self._seconds = seconds
        self._breaker = breaker or Breaker()
        self._client = httpx.AsyncClient(
            base_url=base,
            headers={"Authorization": f"Bearer {api_key}", "Accept": "application/json", "User-Agent": "bursar"},
            timeout=httpx.Timeout(min(10.0, seconds), connect=min(3.0, seconds)),
            follow_redirects=False,  # a redirect would carry the key and the student's name elsewhere
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
        """Enrolls once per key, however often it is called."""
        body: dict[str, Any] = {"student_ref": student_ref, "program": program, "course_ids": course_ids}
        body |= {field: value for field, value in (("name", name), ("email", email)) if value}
        found = await self._call("POST", "/v1/enrollments", RemoteEnrollment, key=key, json=body)
        if (found.student_ref, found.program) != (student_ref, program):
            raise Unwell("the answer is about somebody else")
        return found

    async def find(self, *, student_ref: str, program: str) -> list[RemoteEnrollment]:
        """The student's active enrollments in the program."""
        params = {"student_ref": student_ref}
        found = await self._call("GET", "/v1/enrollments", RemoteEnrollments, params=params)
        return [e for e in found.items if (e.student_ref, e.program, e.status) == (student_ref, program, "active")]

    async def withdraw(self, milady_enrollment_id: str, *, key: str) -> None:
        """Ends the enrollment; one that has ended, or is not there, is as it should be."""
        path = f"/v1/enrollments/{quote(milady_enrollment_id, safe='')}/withdraw"
        try:
            ended = await self._call("POST", path, RemoteEnrollment, key=key)
        except NotThere:
            return
        if ended.status != "withdrawn":
            raise Unwell("still active after a withdrawal")

    async def _call(self, method: str, path: str, model: type[M], *, key: str | None = None, **sent: Any) -> M:
        ticket = self._breaker.admit()
        try:
            answer = await self._ask(method, path, model, key, sent)
        except Unwell:
            self._breaker.failed(ticket)
            raise
        except (Refused, Busy):
            self._breaker.succeeded(ticket)
            raise
        except BaseException:
            self._breaker.abandoned(ticket)
            raise
        self._breaker.succeeded(ticket)
        return answer

    async def _ask(self, method: str, path: str, model: type[M], key: str | None, sent: dict[str, Any]) -> M:
        headers = {"Idempotency-Key": key} if key else {}
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._client.stream(method, path, headers=headers, **sent) as response,
            ):
                body = await _read(response)
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unwell(f"no answer: {type(error).__name__}") from error
        if not response.is_success:
            self._raise_for(response, body)
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            raise Unwell("an answer that does not fit") from error

    def _raise_for(self, response: httpx.Response, body: bytes) -> None:
        status = response.status_code
        code = _code(body)
        if response.is_redirect or status < 400:
            raise Refused("redirected" if status >= 300 else f"http_{status}")
        if status == 429:
            self._breaker.hold(_retry_after(response))
            raise Busy("too many requests")
        if status >= 500 or status in _TRANSIENT_STATUS:
            raise Unwell(f"http {status}")
        if (status, code) == (409, "request_in_progress"):
            raise Busy("our first request with this key is under way")
        raise (NotThere if status == 404 else Refused)(code or f"http_{status}")


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > ANSWER_LIMIT:
            raise Unwell("an answer that does not end")
    return bytes(body)


class _Error(BaseModel):
    code: str


class _ErrorBody(BaseModel):
    error: _Error


def _code(body: bytes) -> str | None:
    """The provider's error code, if there is one that can be shown and logged."""
    try:
        code = _ErrorBody.model_validate_json(body).error.code
    except ValidationError:
        return None
    return code if _CODE.fullmatch(code) else None


def _retry_after(response: httpx.Response) -> float:
    """Seconds. Both forms of RFC 9110, 10.2.3; what cannot be read counts as one second."""
    value = response.headers.get("retry-after", "")
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), LONGEST_HOLD_SECONDS)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 1.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - datetime.now(UTC)).total_seconds(), 0.0), LONGEST_HOLD_SECONDS)
