"""Errors that an API answers: RFC 9457 problem details, each of a declared type with a stable `code`.

A type is declared once, in `problems.py` of the service that answers it (here: those that any API answers), and raised
by its name: `raise UNKNOWN_PROGRAM()`. Which operation can answer which is derived from the code by `make docs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"


class ProblemDocument(BaseModel):
    """RFC 9457 problem details. Some problems have additional members, which `detail` mentions."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: str = Field(description="urn:bursar:problem:<code>")
    title: str = Field(description="the status in words")
    status: int
    code: str = Field(description="stable; clients may rely on it. docs/errors.md lists all")
    detail: str = Field(description="for people: what is wrong, and what to do about it")


@dataclass(frozen=True)
class ProblemType:
    """`cause`: what is wrong; `remedy`: what the caller can do about it. Sentences, for people."""

    status: int
    code: str
    cause: str
    remedy: str

    # Any: a member is any JSON value
    def __call__(self, detail: str | None = None, *, headers: Mapping[str, str] | None = None, **extra: Any) -> Problem:
        """A problem of this type. `detail`: what is wrong in this case, if that says more than the type does."""
        return Problem(self, detail, headers=headers, **extra)


class Problem(Exception):
    """An error response. `extra` members are added to the standard ones."""

    def __init__(
        self,
        type: ProblemType,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(type.code)
        self.type = type
        self.status = type.status
        self.code = type.code
        self.detail = detail or f"{type.cause} {type.remedy}"
        self.headers = headers
        self.extra = extra

    def response(self) -> JSONResponse:
        body = {
            "type": f"urn:bursar:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.extra,
        }
        return JSONResponse(body, self.status, headers=dict(self.headers or {}), media_type=MEDIA_TYPE)


BAD_REQUEST = ProblemType(400, "bad_request", "The request body cannot be read.", "Send JSON in UTF-8.")
CURSOR_INVALID = ProblemType(
    400, "cursor_invalid", "The cursor is not one of this list.", "Use `next` of a previous page unchanged."
)
FORBIDDEN = ProblemType(
    403, "forbidden", "The caller's role does not permit this.", "Sign in with the role that `detail` names."
)
IDEMPOTENCY_KEY_INVALID = ProblemType(
    400,
    "idempotency_key_invalid",
    "The Idempotency-Key is not valid.",
    "Send 1 to 255 printable characters, such as a new UUID.",
)
IDEMPOTENCY_KEY_REUSED = ProblemType(
    422,
    "idempotency_key_reused",
    "This Idempotency-Key has been used for a different request.",
    "Send a new key for a new request.",
)
INSUFFICIENT_SCOPE = ProblemType(
    403,
    "insufficient_scope",
    "The system's token does not have the scope that this requires.",
    "Ask for a token with the scope of the WWW-Authenticate header.",
)
INTERNAL_ERROR = ProblemType(
    500, "internal_error", "Internal error. It has been logged.", "Report it with the time of the request."
)
INVALID_PERIOD = ProblemType(
    422, "invalid_period", "The period is not valid.", "`since` must be before `until`; see `detail`."
)
INVALID_REQUEST = ProblemType(422, "invalid_request", "The request is invalid.", "See `errors`, or `detail`.")
KEYS_UNAVAILABLE = ProblemType(503, "keys_unavailable", "The token cannot be verified at the moment.", "Retry.")
METHOD_NOT_ALLOWED = ProblemType(405, "method_not_allowed", "The path has no such method.", "See the OpenAPI document.")
NOT_FOUND = ProblemType(404, "not_found", "There is no such path.", "See the OpenAPI document.")
NOT_VERIFIED = ProblemType(404, "not_verified", "Nothing was verified yet.", "POST /api/admin/verification.")
PERSON_REQUIRED = ProblemType(403, "person_required", "No other system may do this.", "Sign in as a person.")
REQUEST_IN_PROGRESS = ProblemType(
    409, "request_in_progress", "The first request with this key is still in progress.", "Retry."
)
STUDENT_ERASED = ProblemType(409, "student_erased", "This student was erased.", "A new purchase needs a new account.")
TOO_LARGE = ProblemType(413, "too_large", "The request body is too large.", "Send at most 1 MiB.")
TOO_MANY_REQUESTS = ProblemType(
    429, "too_many_requests", "Too many requests.", "Wait for as many seconds as the Retry-After header says."
)
UNAUTHORIZED = ProblemType(
    401,
    "unauthorized",
    "There is no token, or it is invalid or has expired.",
    "Sign in, and send `Authorization: Bearer <token>`.",
)
UNAVAILABLE = ProblemType(503, "unavailable", "A dependency is unavailable. The request was not processed.", "Retry.")
UNKNOWN_PARAMETER = ProblemType(
    422, "unknown_parameter", "There is no such query parameter (`unknown`).", "Use those in `allowed`."
)
UNKNOWN_VERIFICATION = ProblemType(
    404, "unknown_verification", "There is no such verification.", "Older ones are not kept."
)
