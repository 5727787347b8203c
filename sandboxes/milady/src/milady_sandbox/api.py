"""The provider's API."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from milady_sandbox import courses
from milady_sandbox.settings import Settings
from milady_sandbox.store import Answer, Enrollment, Store, hash_of


class Refused(Exception):
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


async def keyed(request: Request) -> None:
    settings: Settings = request.app.state.settings
    sent = request.headers.get("authorization", "").encode()
    if not secrets.compare_digest(sent, f"Bearer {settings.api_key.get_secret_value()}".encode()):
        raise Refused(401, "unauthorized", "The bearer key is missing or wrong.")


router = APIRouter(prefix="/v1", dependencies=[Depends(keyed)])


@router.get("/courses")
async def list_courses() -> dict[str, Any]:
    return {"items": [{"id": id, "title": title} for id, title in courses.COURSES.items()]}


@router.post("/enrollments", status_code=201)
async def enroll(request: Request) -> JSONResponse:
    """Opens an enrollment. The Idempotency-Key is required: the same key never opens a second one."""
    key = request.headers.get("idempotency-key", "")
    if not 0 < len(key) <= 255:
        raise Refused(400, "idempotency_key_missing", "Send an Idempotency-Key of 1 to 255 characters.")
    body = await request.body()
    store = _store(request)
    wanted = hash_of(request.url.path, body)
    if (known := store.answers.get(key)) is not None:
        return _replay(known, wanted)
    answer = store.answers[key] = Answer(wanted)
    try:
        answer.body = _view(request, _open(store, body))
        answer.status = 201
    finally:
        if answer.status is None:  # a refusal may be mended and sent again under its key
            del store.answers[key]
    return JSONResponse(answer.body, answer.status)


@router.get("/enrollments")
async def list_enrollments(
    request: Request, student_ref: Annotated[str, Query(min_length=1, max_length=100)]
) -> dict[str, Any]:
    """A student's enrollments, oldest first."""
    found = [e for e in _store(request).enrollments.values() if e.student_ref == student_ref]
    return {"items": [_view(request, enrollment) for enrollment in found]}


@router.get("/enrollments/{enrollment_id}")
async def read(request: Request, enrollment_id: str) -> dict[str, Any]:
    return _view(request, _known(request, enrollment_id))


@router.post("/enrollments/{enrollment_id}/withdraw")
async def withdraw(request: Request, enrollment_id: str) -> dict[str, Any]:
    """Ends an enrollment; on one that has ended it changes nothing."""
    enrollment = _known(request, enrollment_id)
    _store(request).withdraw(enrollment)
    return _view(request, enrollment)


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _known(request: Request, enrollment_id: str) -> Enrollment:
    if (enrollment := _store(request).enrollments.get(enrollment_id)) is None:
        raise Refused(404, "enrollment_unknown", "There is no such enrollment.")
    return enrollment


def _open(store: Store, body: bytes) -> Enrollment:
    try:
        wanted = EnrollmentRequest.model_validate_json(body)
    except ValidationError as error:
        where = ", ".join(sorted({".".join(map(str, e["loc"])) or "body" for e in error.errors()}))
        raise Refused(422, "invalid_request", f"These do not fit: {where}.") from None
    if (taken := courses.titles(wanted.course_ids)) is None:
        raise Refused(422, "unknown_course", "GET /v1/courses lists the courses.")
    return store.enroll(
        student_ref=wanted.student_ref, program=wanted.program, name=wanted.name, email=wanted.email, courses=taken
    )


def _replay(known: Answer, wanted: str) -> JSONResponse:
    if known.request_hash != wanted:
        raise Refused(422, "idempotency_key_reused", "This key was used for another request.")
    if known.status is None:
        raise Refused(409, "request_in_progress", "The first request with this key is under way.")
    return JSONResponse(known.body, known.status, headers={"Idempotent-Replayed": "true"})


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
