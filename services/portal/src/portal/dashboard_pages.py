"""What a student has: enrollments, instructors, the provider's courses, what is due, payments and receipts."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.access import CurrentUser, Student
from portal.enrollment_cards import cards_of
from portal.forms import PostedForm
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError, problem_of

router = APIRouter(include_in_schema=False)

_REASON = 1000
"""The longest reason of a refund request, in characters."""


@router.get("/dashboard")
async def show_dashboard(request: Request, _: Student, api: CurrentApi, requested: str = "") -> Response:
    return await _dashboard(request, api, requested=bool(requested))


@router.post("/dashboard/enrollments/{enrollment_id}/steps/{step_id}")
async def mark_step(
    request: Request, enrollment_id: UUID, step_id: UUID, _: Student, api: CurrentApi, form: PostedForm
) -> Response:
    """The student has done it."""
    try:
        await api.post("enrollment", f"/api/enrollments/{enrollment_id}/progress/steps/{step_id}/done")
    except ServiceError as error:
        if error.status == 401:
            raise
        return await _dashboard(request, api, problem=error)
    return RedirectResponse("/dashboard", 303)


@router.post("/payments/{payment_id}/refund-request")
async def request_refund(request: Request, payment_id: UUID, _: Student, api: CurrentApi, form: PostedForm) -> Response:
    """Asks the school; an admin decides."""
    payment = await api.get("checkout", f"/api/payments/{payment_id}")
    reason = form.get("reason", "").strip()[:_REASON]
    try:
        if not reason:
            raise ServiceError(422, "reason_missing", "Say why you would like your money back.", {})
        body = {"payment_intent_id": payment["payment_intent_id"], "reason": reason}
        await api.post("checkout", "/api/payments/request-refund", body, key=form.get("key") or str(uuid4()))
    except ServiceError as error:
        if error.status in (401, 403):
            raise
        return await _dashboard(request, api, problem=error)
    return RedirectResponse("/dashboard?requested=1", 303)


@router.get("/receipts/{receipt_id}.pdf")
async def read_receipt(receipt_id: UUID, _: CurrentUser, api: CurrentApi) -> Response:
    answer = await api.send("checkout", "GET", f"/api/receipts/{receipt_id}/pdf")
    if answer.status_code != 200:
        raise problem_of(answer)
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": answer.headers.get("content-disposition", "attachment"),
    }
    return Response(answer.content, media_type="application/pdf", headers=headers)


async def _dashboard(
    request: Request, api: Api, *, requested: bool = False, problem: ServiceError | None = None
) -> Response:
    (enrollments, progress), (purchases, plans), payments, receipts, requests, others = await asyncio.gather(
        _enrollments(api),
        _purchases(api),
        api.all("checkout", "/api/payments/my-payments"),
        api.all("checkout", "/api/receipts"),
        api.all("checkout", "/api/payments/refund-requests"),
        asyncio.gather(
            api.optional("instructor-assignment", "/api/instructors/mine"),
            api.optional("milady-integration", "/api/milady/mine"),
            api.optional("notifications", "/api/notifications", limit=20),
        ),
    )
    instructors, courses, messages = others
    return render(
        request,
        "dashboard.html",
        422 if problem else 200,
        cards=cards_of(enrollments, progress, _by_slug(instructors), _by_slug(courses)),
        instructors_known=instructors is not None,
        purchases=[each for each in purchases if (each["status"], each["payer"]) == ("awaiting_payment", "student")],
        payments=payments,
        receipts=receipts,
        refund_requests=_latest(requests),
        messages=messages,
        plans=plans,
        requested=requested,
        problem=problem,
    )


async def _enrollments(api: Api) -> tuple[list[dict[str, Any]], list[dict[str, Any] | None]]:
    """With the progress in each."""
    found = await api.all("enrollment", "/api/enrollments")
    return found, await asyncio.gather(*(_progress(api, each) for each in found))


async def _purchases(api: Api) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All of them, and the installments of those that something is due of."""
    found = await api.all("checkout", "/api/purchases")
    owed = [each for each in found if each["due"] and each["status"] not in ("canceled", "expired")]
    overviews = await asyncio.gather(*(api.get("checkout", f"/api/enrollments/{each['id']}/payment") for each in owed))
    return found, [{"purchase": each, **overview} for each, overview in zip(owed, overviews, strict=True)]


async def _progress(api: Api, enrollment: dict[str, Any]) -> dict[str, Any] | None:
    """Of a track."""
    if enrollment["track"] is None:
        return None
    found: dict[str, Any] = await api.get("enrollment", f"/api/enrollments/{enrollment['id']}/progress")
    return found


def _by_slug(items: list[dict[str, Any]] | None) -> dict[str, dict[str, Any]]:
    return {each["program_slug"]: each for each in items or ()}


def _latest(requests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The last request of each payment."""
    return {each["payment_id"]: each for each in sorted(requests, key=lambda each: each["created_at"])}
