"""A case manager's students, their contacts, and asking a sponsor to pay for one."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.access import CaseManager
from portal.forms import PostedForm
from portal.funding import FORM_FIELDS, cap_of, totals_of
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError

router = APIRouter(prefix="/caseload", include_in_schema=False)

_NEW_STUDENTS = uuid5(NAMESPACE_URL, "urn:bursar:portal:new-student")
"""A new student's id follows from the form's key, so that a second click is the same student."""
_FIELDS = (*FORM_FIELDS, "cap", "student_id", "program", "funding_source")
_DONE = {
    "funded": "The sponsor gets an invoice. The student is enrolled as soon as it is paid.",
    "contact": "The student's contact was saved.",
    "revoked": "The sponsor's link has ended.",
    "sent": "Stripe has mailed the invoice to the sponsor again.",
}


@router.get("")
async def show_caseload(request: Request, _: CaseManager, api: CurrentApi, done: str = "") -> Response:
    return await _caseload(request, api, done=done)


@router.post("/fund")
async def fund(request: Request, _: CaseManager, api: CurrentApi, form: PostedForm) -> Response:
    """The sponsor gets an invoice; the student is enrolled when it is paid."""
    given = {name: form.get(name, "").strip() for name in _FIELDS}
    key = form.get("key") or str(uuid4())
    try:
        await api.post("checkout", "/api/funding/create-checkout", await _request(api, given, key), key=key)
    except ServiceError as error:
        if error.status == 401:
            raise
        return await _caseload(request, api, problem=error, given=given)
    return RedirectResponse("/caseload?done=funded", 303)


@router.post("/purchases/{purchase_id}/send")
async def send_invoice(
    request: Request, purchase_id: UUID, _: CaseManager, api: CurrentApi, form: PostedForm
) -> Response:
    try:
        await api.post("checkout", f"/api/funding/{purchase_id}/send", key=form.get("key") or str(uuid4()))
    except ServiceError as error:
        if error.status == 401:
            raise
        return await _caseload(request, api, problem=error)
    return RedirectResponse("/caseload?done=sent", 303)


@router.post("/students/{student_id}/contact")
async def save_contact(
    request: Request, student_id: UUID, _: CaseManager, api: CurrentApi, form: PostedForm
) -> Response:
    body = {"email": form.get("email", "").strip(), "name": form.get("name", "").strip() or None}
    try:
        await api.put("checkout", f"/api/admin/students/{student_id}/contact", body)
    except ServiceError as error:
        if error.status == 401:
            raise
        return await _caseload(request, api, problem=error)
    return RedirectResponse("/caseload?done=contact", 303)


async def _request(api: Api, given: dict[str, str], key: str) -> dict[str, object]:
    """The body of POST /api/funding/create-checkout. Raises ServiceError for a cap that is no amount."""
    programs = (await api.get("checkout", "/api/programs"))["items"] if given["cap"] else []
    currency = next((each["currency"] for each in programs if each["slug"] == given["program"]), "usd")
    try:
        cap = cap_of(given["cap"], currency)
    except ValueError:
        raise ServiceError(422, "invalid_request", "Write the authorized amount like 4,890.00.", {}) from None
    body: dict[str, object] = {sent: given[name] for name, sent in FORM_FIELDS.items() if given[name]}
    return body | {
        "studentId": given["student_id"] or str(uuid5(_NEW_STUDENTS, key)),
        "programId": given["program"],
        "programSlug": given["program"],
        "fundingSource": given["funding_source"],
        **({"cap": cap} if cap else {}),
    }


async def _caseload(
    request: Request,
    api: Api,
    *,
    done: str = "",
    problem: ServiceError | None = None,
    given: dict[str, str] | None = None,
) -> Response:
    entries, purchases, enrollments, sponsors, programs = await asyncio.gather(
        api.all("checkout", "/api/admin/caseload", limit=200),
        api.all("checkout", "/api/purchases", limit=100),
        api.optional("enrollment", "/api/enrollments", limit=200),
        api.all("checkout", "/api/admin/sponsors"),
        api.get("checkout", "/api/programs"),
    )
    by_student: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for purchase in purchases:
        by_student[purchase["student_id"]].append(purchase)
    students = [{**each, "purchases": by_student[each["student_id"]]} for each in entries]
    return render(
        request,
        "caseload.html",
        422 if problem else 200,
        students=sorted(students, key=lambda each: (each["name"] is None, each["name"], each["student_id"])),
        active=sum(each["status"] == "active" for each in enrollments or ()),
        totals=totals_of(purchases),
        sponsors=[each for each in sponsors if each["active"]],
        programs=programs["items"],
        done=_DONE.get(done),
        problem=problem,
        given={name: (given or {}).get(name, "") for name in _FIELDS},
        new_key=lambda: str(uuid4()),
    )
