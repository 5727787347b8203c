"""A student's conversation with their AI instructor. Its texts are plain text, whatever they look like."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.responses import Response

from kit.http.problems import MEDIA_TYPE
from portal.access import SignedInAs
from portal.forms import PostedForm
from portal.renderer import render
from portal.service_client import EVENT_STREAM, Api, CurrentApi, ServiceError, ServiceUnavailable
from portal.streamed_answer import StreamedAnswer

router = APIRouter(prefix="/dashboard", include_in_schema=False, dependencies=[Depends(SignedInAs("student"))])

SERVICE = "instructor-assignment"
ANSWER_SECONDS = 110
"""Of an instructor, at most; instructor-assignment ends it before."""
_MESSAGES = 50
_LATER = "Your instructor does not answer right now. What you have written is stored if the page displays it below."
_LOST = f"event: lost\ndata: {json.dumps({'detail': _LATER})}\n\n".encode()
_STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Content-Type": EVENT_STREAM}


@router.get("/instructor/{assignment_id}")
async def show_conversation(request: Request, assignment_id: UUID, api: CurrentApi, cursor: str = "") -> Response:
    return await _conversation(request, assignment_id, api, cursor=cursor)


@router.post("/instructor/{assignment_id}")
async def ask_instructor(request: Request, assignment_id: UUID, api: CurrentApi, form: PostedForm) -> Response:
    """The page with the answer; static/chat.js accepts an event stream, and gets that."""
    path, key = f"{_path(assignment_id)}/messages", form.get("key") or str(uuid4())
    body = {"text": form.get("text", "").replace("\r\n", "\n")}
    if EVENT_STREAM in request.headers.get("accept", ""):
        try:
            answer = await api.stream(SERVICE, path, body, key=key, seconds=ANSWER_SECONDS)
        except ServiceError as error:
            return JSONResponse(dict(error.body), error.status, media_type=MEDIA_TYPE)
        except ServiceUnavailable:
            return JSONResponse({"detail": _LATER}, 503, media_type=MEDIA_TYPE)
        return StreamedAnswer(answer, headers=_STREAM_HEADERS, lost=_LOST)
    try:
        await api.post(SERVICE, path, body, key=key, seconds=ANSWER_SECONDS)
    except ServiceError as error:
        if error.status in (401, 404):
            raise
        return await _conversation(request, assignment_id, api, problem=error, asked=body["text"])
    return RedirectResponse(f"/dashboard/instructor/{assignment_id}#latest", 303)


async def _conversation(
    request: Request,
    assignment_id: UUID,
    api: Api,
    *,
    cursor: str = "",
    problem: ServiceError | None = None,
    asked: str = "",
) -> Response:
    """`asked`: a question that was refused, to be changed and sent again."""
    path = _path(assignment_id)
    chat = await api.get(SERVICE, path)
    page = await api.get(SERVICE, f"{path}/messages", limit=_MESSAGES, cursor=cursor or None)
    return render(
        request,
        "instructor.html",
        problem.status if problem else 200,
        chat=chat,
        assignment=chat["assignment"],
        name=_name(chat["assignment"]),
        messages=page["items"][::-1],
        earlier=page["next"],
        is_latest=not cursor,
        problem=problem,
        asked=asked,
        new_key=str(uuid4()),
    )


def _path(assignment_id: UUID) -> str:
    return f"/api/instructors/mine/{assignment_id}"


def _name(assignment: Mapping[str, Any]) -> str:
    """Of the instructor; after a release it is not stored who it was."""
    instructor = assignment["instructor"]
    return str(instructor["name"]) if instructor else "Instructor"
