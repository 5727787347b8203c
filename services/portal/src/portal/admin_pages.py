"""What admins decide: refunds, payments that match nothing, messages that were given up; and one purchase's story."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.access import Admin
from portal.forms import PostedForm
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError

router = APIRouter(prefix="/admin", include_in_schema=False)

_GATEWAY = "webhook-gateway-admin"
_MOST = 320
_DONE = {
    "approve": "The refund request was approved. Stripe makes the refund in a moment.",
    "reject": "The refund request was rejected.",
    "assigned": "The payment was assigned.",
    "refunded": "The payment is being refunded.",
    "replayed": "The message was returned to its queue.",
}


@router.get("")
async def show_administration(request: Request, _: Admin, api: CurrentApi, done: str = "") -> Response:
    return await _administration(request, api, done=_DONE.get(done, ""))


@router.post("/search")
async def search(request: Request, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
    """A form and not a link, as an address in a URL ends in logs. By address, by an id of Stripe's, or by our own."""
    wanted = form.get("wanted", "").strip()[:_MOST]
    try:
        students, purchases = await _found(api, wanted)
    except ServiceError as error:
        if error.status not in (404, 422):
            raise
        students, purchases = [], []
    if len(purchases) == 1 and not students:
        return RedirectResponse(f"/admin/purchases/{purchases[0]['id']}", 303)
    return await _administration(request, api, wanted=wanted, students=students, purchases=purchases)


@router.get("/purchases/{purchase_id}")
async def show_purchase(request: Request, purchase_id: UUID, _: Admin, api: CurrentApi) -> Response:
    """Everything that has happened to it, in all services."""
    timeline = await api.get("reporting", f"/api/admin/purchases/{purchase_id}/timeline")
    try:
        overview = await api.get("checkout", f"/api/enrollments/{purchase_id}/payment")
    except ServiceError as error:
        if error.status != 404:
            raise
        overview = None
    return render(request, "admin_purchase.html", purchase_id=purchase_id, events=timeline["events"], overview=overview)


@router.post("/refund-requests/{request_id}/decide")
async def decide(request: Request, request_id: UUID, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
    decision = "approve" if form.get("decision") == "approve" else "reject"
    body = {"decision": decision, "note": form.get("note", "").strip()[:1000] or None}
    path = f"/api/admin/refund-requests/{request_id}/decide"
    return await _act(request, api, "checkout", path, body, done=decision, key=str(uuid4()))


@router.post("/unmatched-payments/{payment_id}/assign")
async def assign(request: Request, payment_id: UUID, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
    body = {"student_id": form.get("student_id", "").strip(), "item": form.get("item", "").strip()}
    return await _act(
        request, api, "checkout", f"/api/admin/unmatched-payments/{payment_id}/assign", body, done="assigned"
    )


@router.post("/unmatched-payments/{payment_id}/refund")
async def refund(request: Request, payment_id: UUID, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
    return await _act(
        request, api, "checkout", f"/api/admin/unmatched-payments/{payment_id}/refund", {}, done="refunded"
    )


@router.get("/dead-letters")
async def list_dead_letters(request: Request, _: Admin, api: CurrentApi, queue: str) -> Response:
    page = await api.get(_GATEWAY, "/api/admin/dead-letters", queue=queue)
    return render(request, "dead_letters.html", queue=queue, letters=page["items"])


@router.post("/dead-letters/replay")
async def replay(request: Request, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
    body = {"queue": form.get("queue", ""), "event_ids": [form.get("event_id", "")]}
    return await _act(request, api, _GATEWAY, "/api/admin/dead-letters/replay", body, done="replayed")


async def _act(
    request: Request, api: Api, service: str, path: str, body: dict[str, Any], *, done: str, key: str | None = None
) -> Response:
    """A refusal is displayed on the page from which it was tried."""
    try:
        await api.post(service, path, body, key=key)
    except ServiceError as error:
        if error.status in (401, 403):
            raise
        return await _administration(request, api, problem=error)
    return RedirectResponse(f"/admin?done={done}", 303)


async def _found(api: Api, wanted: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Students with their purchases, or purchases. Raises ServiceError."""
    if "@" in wanted:
        found = await api.post("checkout", "/api/admin/students/search", {"email": wanted})
        lists = await asyncio.gather(
            *(api.get("checkout", "/api/purchases", user_id=each["student_id"]) for each in found["items"])
        )
        students = [
            {"id": student["student_id"], "purchases": page["items"]}
            for student, page in zip(found["items"], lists, strict=True)
        ]
        return students, []
    if _is_uuid(wanted):
        page = await api.get("checkout", "/api/purchases", user_id=wanted)
        if page["items"]:
            return [{"id": wanted, "purchases": page["items"]}], []
        return [], [{"id": wanted}]
    if not wanted:
        return [], []
    timelines = await api.get("reporting", "/api/admin/timelines", stripe_id=wanted)
    return [], [{"id": each["purchase_id"]} for each in timelines["items"] if each["purchase_id"]]


async def _administration(
    request: Request,
    api: Api,
    *,
    wanted: str | None = None,
    students: list[dict[str, Any]] | None = None,
    purchases: list[dict[str, Any]] | None = None,
    done: str = "",
    problem: ServiceError | None = None,
) -> Response:
    refunds, unmatched, queues = await asyncio.gather(
        api.optional("checkout", "/api/admin/refund-requests", status="pending"),
        api.optional("checkout", "/api/admin/unmatched-payments", status="open"),
        api.optional(_GATEWAY, "/api/admin/dead-letters/queues"),
    )
    return render(
        request,
        "admin.html",
        422 if problem else 200,
        wanted=wanted,
        students=students or [],
        purchases=purchases or [],
        refunds=refunds,
        unmatched=unmatched,
        queues=None if queues is None else [each for each in queues if each["messages"]],
        done=done,
        problem=problem,
    )


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
