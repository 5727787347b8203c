"""What a student has: enrollments, instructors, the provider's courses, what is due, payments and receipts."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from kit.http.problems import FORBIDDEN
from portal.access import CurrentUser
from portal.forms import PostedForm
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError, problem_of

router = APIRouter(include_in_schema=False)

_REASON = 1000
"""The longest reason of a refund request, in characters."""


@router.get("/dashboard")
async def show_dashboard(request: Request, user: CurrentUser, api: CurrentApi, requested: str = "") -> Response:
    return await _dashboard(request, user, api, requested=bool(requested))


@router.post("/payments/{payment_id}/refund-request")
async def request_refund(
    request: Request, payment_id: UUID, user: CurrentUser, api: CurrentApi, form: PostedForm
) -> Response:
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
        return await _dashboard(request, user, api, problem=error)
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
    request: Request,
    user: CurrentUser,
    api: Api,
    *,
    requested: bool = False,
    problem: ServiceError | None = None,
) -> Response:
    if user.role != "student":
        raise FORBIDDEN("This page is for students.")
    enrollments, purchases, payments, receipts = await asyncio.gather(
        api.get("enrollment", "/api/enrollments"),
        api.get("checkout", "/api/purchases"),
        api.get("checkout", "/api/payments/my-payments"),
        api.get("checkout", "/api/receipts"),
    )
    instructors, courses, messages = await asyncio.gather(
        api.optional("instructor-assignment", "/api/instructors/mine"),
        api.optional("milady-integration", "/api/milady/mine"),
        api.optional("notifications", "/api/notifications"),
    )
    plans = [each for each in purchases["items"] if each["due"] and each["status"] not in ("canceled", "expired")]
    overviews = await asyncio.gather(*(api.get("checkout", f"/api/enrollments/{each['id']}/payment") for each in plans))
    return render(
        request,
        "dashboard.html",
        422 if problem else 200,
        enrollments=enrollments["items"],
        purchases=[each for each in purchases["items"] if each["status"] == "awaiting_payment"],
        payments=payments["items"],
        receipts=receipts["items"],
        instructors=_by_slug(instructors),
        courses=_by_slug(courses),
        messages=messages,
        plans=[{"purchase": plan, **overview} for plan, overview in zip(plans, overviews, strict=True)],
        requested=requested,
        problem=problem,
        new_key=lambda: str(uuid4()),
    )


def _by_slug(items: list[dict[str, Any]] | None) -> dict[str, dict[str, Any]] | None:
    return None if items is None else {each["program_slug"]: each for each in items}
