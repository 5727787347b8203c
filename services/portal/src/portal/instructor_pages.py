"""A student's conversation with their AI instructor. Its texts are plain text, whatever they look like."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID, uuid4

import httpx
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from starlette.responses import Response

from kit.http.problems import MEDIA_TYPE
from portal.access import SignedInAs
from portal.forms import PostedForm
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError, ServiceUnavailable

router = APIRouter(prefix="/dashboard", include_in_schema=False, dependencies=[Depends(SignedInAs("student"))])

SERVICE = "instructor-assignment"
EVENT_STREAM = "text/event-stream"
_MESSAGES = 50
_LATER = "Your instructor does not answer right now. What you have written is stored if the page displays it below."


@router.get("/instructor/{assignment_id}")
async def show_conversation(request: Request, assignment_id: UUID, api: CurrentApi, cursor: str = "") -> Response:
    return await _conversation(request, assignment_id, api, cursor=cursor)


@router.post("/instructor/{assignment_id}")
async def ask_instructor(request: Request, assignment_id: UUID, api: CurrentApi, form: PostedForm) -> Response:
    """The page with the answer; static/chat.js accepts an event stream, and gets that."""
    streamed = EVENT_STREAM in request.headers.get("accept", "")
    body = {"text": form.get("text", "").replace("\r\n", "\n")}
    accept = EVENT_STREAM if streamed else "application/json"
    try:
        answer = await api.ask(
            f"{_path(assignment_id)}/messages", body, key=form.get("key") or str(uuid4()), accept=accept
        )
    except ServiceError as error:
        if streamed:
            return JSONResponse(dict(error.body), error.status, media_type=MEDIA_TYPE)
        if error.status in (401, 404):
            raise
        return await _conversation(request, assignment_id, api, problem=error, asked=body["text"])
    except ServiceUnavailable:
        if streamed:
            return JSONResponse({"detail": _LATER}, 503, media_type=MEDIA_TYPE)
        raise
    if streamed:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_body(answer), 201, headers=headers, media_type=EVENT_STREAM)
    return RedirectResponse(f"/dashboard/instructor/{assignment_id}#latest", 303)


async def _body(answer: httpx.Response) -> AsyncIterator[bytes]:
    """As it comes. If the browser goes, so does this connection, which ends the answer."""
    try:
        async for part in answer.aiter_raw():
            yield part
    except httpx.HTTPError:
        yield f"event: lost\ndata: {json.dumps({'detail': _LATER})}\n\n".encode()
    finally:
        await answer.aclose()


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
