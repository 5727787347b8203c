"""One installment, and what admins do with it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.access import Admin
from portal.forms import PostedForm
from portal.record_list import start_of_day
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError

router = APIRouter(prefix="/admin/installments", include_in_schema=False)

_API = "/api/admin/payments/schedules"


@router.get("/{installment_id}")
async def show_installment(request: Request, installment_id: UUID, _: Admin, api: CurrentApi) -> Response:
    return await _installment(request, api, installment_id)


@router.post("/{installment_id}/{act}")
async def change(
    request: Request, installment_id: UUID, act: str, _: Admin, api: CurrentApi, form: PostedForm
) -> Response:
    """`act`: pause, resume, record-payment, or due-date."""
    path = f"{_API}/{installment_id}"
    try:
        match act:
            case "due-date":
                day = form.get("due_at", "")
                await api.patch("checkout", path, {"due_at": start_of_day(day) or day})
            case "record-payment":
                names = ("payment_method", "transaction_reference", "notes")
                sent = {name: form.get(name, "").strip() for name in names}
                await api.post("checkout", f"{path}/record-payment", {**sent, "notes": sent["notes"] or None})
            case _:
                await api.post("checkout", f"{path}/{'pause' if act == 'pause' else 'resume'}")
    except ServiceError as error:
        if error.status in (401, 403):
            raise
        return await _installment(request, api, installment_id, problem=error)
    return RedirectResponse(f"/admin/installments/{installment_id}?saved=1", 303)


async def _installment(
    request: Request, api: Api, installment_id: UUID, *, problem: ServiceError | None = None
) -> Response:
    each: dict[str, Any] = await api.get("checkout", f"{_API}/{installment_id}")
    done = "It was saved." if "saved" in request.query_params else ""
    values = {"each": each, "done": done, "problem": problem}
    return render(request, "admin_installment.html", 422 if problem else 200, **values)
