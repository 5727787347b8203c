"""Messages that a service could not process: how many each queue has, one of them, and replaying or discarding it."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.access import Admin
from portal.admin_lists import DEAD_LETTERS, GATEWAY
from portal.forms import PostedForm
from portal.record_list import address
from portal.record_list_pages import show
from portal.renderer import render
from portal.service_client import CurrentApi, ServiceError

router = APIRouter(prefix="/admin/dead-letters", include_in_schema=False)


@router.get("")
async def list_queues(request: Request, _: Admin, api: CurrentApi) -> Response:
    queues = (await api.get(GATEWAY, "/api/admin/dead-letters/queues"))["items"]
    return render(request, "dead_letter_queues.html", queues=queues)


@router.get("/message")
async def show_message(request: Request, _: Admin, api: CurrentApi, queue: str, event_id: str) -> Response:
    """With its content: the API records who has seen it."""
    letter = await api.get(GATEWAY, "/api/admin/dead-letters/message", queue=queue, event_id=event_id)
    body = letter["body"]
    content = body if isinstance(body, str) else json.dumps(body, indent=2, ensure_ascii=False)
    return render(request, "dead_letter.html", letter=letter, content=content)


@router.post("/replay")
async def replay(request: Request, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
    queue = form.get("queue", "")
    body = {"queue": queue, "event_ids": [form.get("event_id", "")]}
    try:
        await api.post(GATEWAY, "/api/admin/dead-letters/replay", body)
    except ServiceError as error:
        if error.status in (401, 403):
            raise
        return await show(request, api, DEAD_LETTERS, refused=error)
    return _done(queue, "replayed")


@router.get("/discard")
async def ask_to_discard(request: Request, _: Admin, queue: str, event_id: str) -> Response:
    return _confirmation(request, {"queue": queue, "event_id": event_id, "reason": ""})


@router.post("/discard")
async def discard(request: Request, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
    given = {name: form.get(name, "").strip() for name in ("queue", "event_id", "reason")}
    body = {"queue": given["queue"], "event_ids": [given["event_id"]], "reason": given["reason"]}
    try:
        await api.post(GATEWAY, "/api/admin/dead-letters/discard", body)
    except ServiceError as error:
        if error.status in (401, 403):
            raise
        return _confirmation(request, given, problem=error)
    return _done(given["queue"], "discarded")


def _confirmation(request: Request, given: dict[str, Any], *, problem: ServiceError | None = None) -> Response:
    status = 422 if problem else 200
    return render(request, "dead_letter_discard.html", status, given=given, problem=problem, done="")


def _done(queue: str, done: str) -> Response:
    return RedirectResponse(address(DEAD_LETTERS.path, {"queue": queue, "done": done}), 303)
