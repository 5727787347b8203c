"""The administration: what waits, the search, and what admins decide about refunds, payments that match nothing, and
enrollments at the outside course provider."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping
from typing import Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.access import Admin
from portal.admin_lists import DISPUTES, GATEWAY, PROVIDER_ENROLLMENTS, REFUND_REQUESTS, UNMATCHED_PAYMENTS
from portal.forms import PostedForm
from portal.record_list import RecordList
from portal.record_list_pages import show
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError, csv_of

router = APIRouter(prefix="/admin", include_in_schema=False)

_MOST = 320
_STRIPE_ID = re.compile(r"[a-z]{2,8}_[A-Za-z0-9_]+")
_MOST_OF_A_NUMBER = 50
_COUNTED = 101
"""The overview counts no further."""


@router.get("")
async def show_administration(request: Request, _: Admin, api: CurrentApi) -> Response:
    return await _administration(request, api)


@router.post("/search")
async def search(request: Request, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
    """A form and not a link, as an address in a URL ends in logs. By address, name, number of a receipt, or id."""
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


@router.get("/receivables")
async def show_receivables(request: Request, _: Admin, api: CurrentApi) -> Response:
    owed, statistics = await asyncio.gather(
        api.get("checkout", "/api/admin/receivables"),
        api.get("checkout", "/api/admin/payments/schedules/statistics"),
    )
    states = ("due", "overdue", "processing", "paid", "waived", "canceled")
    return render(request, "admin_receivables.html", owed=owed["items"], statistics=statistics["items"], states=states)


@router.post("/refund-requests/{request_id}/decide")
async def decide(request: Request, request_id: UUID, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
    decision = "approve" if form.get("decision") == "approve" else "reject"
    body = {"decision": decision, "note": form.get("note", "").strip()[:1000] or None}
    act = api.post("checkout", f"/api/admin/refund-requests/{request_id}/decide", body, key=str(uuid4()))
    return await _do(request, api, REFUND_REQUESTS, act, done=decision)


@router.post("/unmatched-payments/{payment_id}/assign")
async def assign(request: Request, payment_id: UUID, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
    body = {"student_id": form.get("student_id", "").strip(), "item": form.get("item", "").strip()}
    act = api.post("checkout", f"/api/admin/unmatched-payments/{payment_id}/assign", body)
    return await _do(request, api, UNMATCHED_PAYMENTS, act, done="assigned")


@router.post("/unmatched-payments/{payment_id}/refund")
async def refund(request: Request, payment_id: UUID, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
    act = api.post("checkout", f"/api/admin/unmatched-payments/{payment_id}/refund")
    return await _do(request, api, UNMATCHED_PAYMENTS, act, done="refunded")


@router.post("/milady/confirm")
async def confirm(request: Request, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
    """An admin has enrolled or withdrawn the student at the outside course provider."""
    body = {
        **_of_provider(form),
        "miladyEnrollmentId": form.get("milady_enrollment_id", "").strip() or None,
        "withdrawn": form.get("desired_state") == "withdrawn",
    }
    act = api.post("milady-integration", "/api/admin/milady/confirm", body)
    return await _do(request, api, PROVIDER_ENROLLMENTS, act, done="confirmed")


@router.post("/milady/retry")
async def retry(request: Request, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
    act = api.post("milady-integration", "/api/admin/milady/retry", _of_provider(form))
    return await _do(request, api, PROVIDER_ENROLLMENTS, act, done="retried")


@router.get("/milady/{action}.csv")
async def export_for_provider(action: Literal["enroll", "withdraw"], _: Admin, api: CurrentApi) -> Response:
    """What the provider's bulk import takes."""
    path = "/api/admin/milady/export.csv"
    return csv_of(await api.send("milady-integration", "GET", path, params={"action": action}))


async def _do(request: Request, api: Api, record_list: RecordList, act: Awaitable[object], *, done: str) -> Response:
    """A refusal is displayed on the page from which it was tried."""
    try:
        await act
    except ServiceError as error:
        if error.status in (401, 403):
            raise
        return await show(request, api, record_list, refused=error)
    return RedirectResponse(f"{record_list.path}?done={done}", 303)


def _of_provider(form: Mapping[str, str]) -> dict[str, object]:
    return {"studentId": form.get("student_id", ""), "programSlug": form.get("program_slug", "")}


async def _found(api: Api, wanted: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Students with their purchases, or purchases. Raises ServiceError."""
    if "@" in wanted:
        return await _students(api, email=wanted), []
    if _is_uuid(wanted):
        page = await api.get("checkout", "/api/purchases", user_id=wanted)
        if page["items"]:
            return [{"id": wanted, "name": None, "purchases": page["items"]}], []
        return [], [{"id": wanted}]
    if _STRIPE_ID.fullmatch(wanted):
        timelines = await api.get("reporting", "/api/admin/timelines", stripe_id=wanted)
        return [], [{"id": each["purchase_id"]} for each in timelines["items"] if each["purchase_id"]]
    receipts = await api.get("checkout", "/api/receipts", number=wanted[:_MOST_OF_A_NUMBER])
    if receipts["items"]:
        return [], [{"id": each["purchase_id"]} for each in receipts["items"]]
    return await _students(api, name=wanted), []


async def _students(api: Api, **wanted: str) -> list[dict[str, Any]]:
    found = (await api.post("checkout", "/api/admin/students/search", wanted))["items"]
    pages = await asyncio.gather(*(api.get("checkout", "/api/purchases", user_id=each["student_id"]) for each in found))
    return [
        {"id": student["student_id"], "name": student["name"], "purchases": page["items"]}
        for student, page in zip(found, pages, strict=True)
    ]


async def _administration(
    request: Request,
    api: Api,
    *,
    wanted: str | None = None,
    students: list[dict[str, Any]] | None = None,
    purchases: list[dict[str, Any]] | None = None,
) -> Response:
    lists = (
        ("Refund requests to decide", REFUND_REQUESTS),
        ("Payments that match nobody", UNMATCHED_PAYMENTS),
        ("Open disputes", DISPUTES),
    )
    *pages, queues = await asyncio.gather(
        *(api.optional(each.service, each.api, limit=_COUNTED, **each.query(each.chosen({}))) for _, each in lists),
        api.optional(GATEWAY, "/api/admin/dead-letters/queues"),
    )
    letters = None if queues is None else sum(each["messages"] for each in queues)
    return render(
        request,
        "admin.html",
        wanted=wanted,
        students=students or [],
        purchases=purchases or [],
        waiting=[
            *((label, each.path, _count(page)) for (label, each), page in zip(lists, pages, strict=True)),
            ("Messages that were given up", "/admin/dead-letters", None if letters is None else str(letters)),
        ],
    )


def _count(rows: list[dict[str, Any]] | None) -> str | None:
    if rows is None:
        return None
    return f"{_COUNTED - 1} or more" if len(rows) == _COUNTED else str(len(rows))


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
