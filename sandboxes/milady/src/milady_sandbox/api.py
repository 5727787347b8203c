"""The provider's API."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from milady_sandbox import courses
from milady_sandbox.settings import Settings
from milady_sandbox.store import Enrollment, SavedResponse, Store, hash_of


class ApiError(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message

    def response(self) -> JSONResponse:
        return JSONResponse({"error": {"code": self.code, "message": self.message}}, self.status)


class EnrollmentRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    student_ref: str = Field(min_length=1, max_length=100)
    program: str = Field(min_length=1, max_length=200)
    course_ids: list[str] = Field(default_factory=list, max_length=50)
    name: str | None = Field(default=None, max_length=200)
    email: str | None = Field(default=None, max_length=320, pattern=r"^[^@\s]+@[^@\s]+$")


async def authenticate(request: Request) -> None:
    settings: Settings = request.app.state.settings
    sent = request.headers.get("authorization", "").encode()
    if not secrets.compare_digest(sent, f"Bearer {settings.api_key.get_secret_value()}".encode()):
        raise ApiError(401, "unauthorized", "The bearer key is missing or invalid.")


router = APIRouter(prefix="/v1", dependencies=[Depends(authenticate)])


@router.get("/courses")
async def list_courses() -> dict[str, Any]:
    return {"items": [{"id": id, "title": title} for id, title in courses.COURSES.items()]}


@router.post("/enrollments", status_code=201)
async def enroll(request: Request) -> JSONResponse:
    """Creates an enrollment. Requires an Idempotency-Key: a key creates at most one enrollment."""
    key = request.headers.get("idempotency-key", "")
    if not 0 < len(key) <= 255:
        raise ApiError(400, "idempotency_key_missing", "The Idempotency-Key header must have 1 to 255 characters.")
    body = await request.body()
    store = _store(request)
    request_hash = hash_of(request.url.path, body)
    if (saved := store.responses.get(key)) is not None:
        return _replay(saved, request_hash)
    response = store.responses[key] = SavedResponse(request_hash)
    try:
        response.body = _view(request, _create(store, body))
        response.status = 201
    finally:
        if response.status is None:  # a rejected request releases its key, so that it can be corrected and resent
            del store.responses[key]
    return JSONResponse(response.body, response.status)


@router.get("/enrollments")
async def list_enrollments(
    request: Request, student_ref: Annotated[str, Query(min_length=1, max_length=100)]
) -> dict[str, Any]:
    """A student's enrollments, oldest first."""
    found = [e for e in _store(request).enrollments.values() if e.student_ref == student_ref]
    return {"items": [_view(request, enrollment) for enrollment in found]}


@router.get("/enrollments/{enrollment_id}")
async def read(request: Request, enrollment_id: str) -> dict[str, Any]:
    return _view(request, _find(request, enrollment_id))


@router.post("/enrollments/{enrollment_id}/withdraw")
async def withdraw(request: Request, enrollment_id: str) -> dict[str, Any]:
    """Withdraws an enrollment. Has no effect if it is already withdrawn."""
    enrollment = _find(request, enrollment_id)
    _store(request).withdraw(enrollment)
    return _view(request, enrollment)


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _find(request: Request, enrollment_id: str) -> Enrollment:
    if (enrollment := _store(request).enrollments.get(enrollment_id)) is None:
        raise ApiError(404, "enrollment_unknown", "Enrollment not found.")
    return enrollment


def _create(store: Store, body: bytes) -> Enrollment:
    try:
        params = EnrollmentRequest.model_validate_json(body)
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, e["loc"])) or "body" for e in error.errors()}))
        raise ApiError(422, "invalid_request", f"Invalid fields: {fields}.") from None
    if (selected := courses.titles(params.course_ids)) is None:
        raise ApiError(422, "unknown_course", "Unknown course; GET /v1/courses lists the courses.")
    return store.enroll(
        student_ref=params.student_ref, program=params.program, name=params.name, email=params.email, courses=selected
    )


def _replay(saved: SavedResponse, request_hash: str) -> JSONResponse:
    if saved.request_hash != request_hash:
        raise ApiError(422, "idempotency_key_reused", "This Idempotency-Key was used with a different request.")
    if saved.status is None:
        raise ApiError(409, "request_in_progress", "A request with this Idempotency-Key is in progress.")
    return JSONResponse(saved.body, saved.status, headers={"Idempotent-Replayed": "true"})


def _view(request: Request, enrollment: Enrollment) -> dict[str, Any]:
    settings: Settings = request.app.state.settings
    links = [
        {"title": title, "url": f"{settings.base_url}/learn/{enrollment.id}/{course}"}
        for course, title in enrollment.courses
    ]
    return {
        "id": enrollment.id,
        "student_ref": enrollment.student_ref,
        "program": enrollment.program,
        "status": enrollment.status,
        "courses": [{"id": course, "title": title} for course, title in enrollment.courses],
        "links": links if enrollment.status == "active" else [],
        "created_at": enrollment.created_at.isoformat(),
        "withdrawn_at": enrollment.withdrawn_at.isoformat() if enrollment.withdrawn_at else None,
    }
