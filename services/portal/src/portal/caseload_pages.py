"""A case manager's students, and asking a sponsor to pay for one."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.access import CaseManager
from portal.forms import PostedForm
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError

router = APIRouter(prefix="/caseload", include_in_schema=False)

_NEW_STUDENTS = uuid5(NAMESPACE_URL, "urn:bursar:portal:new-student")
"""A new student's id follows from the form's key, so that a second click is the same student."""
_FIELDS = {
    "student_name": "studentName",
    "student_email": "studentEmail",
    "authorization_number": "authorizationNumber",
    "period_start": "periodStart",
    "period_end": "periodEnd",
}
"""Of the form, and of POST /api/funding/create-checkout. What is left empty is not sent."""


@router.get("")
async def show_caseload(request: Request, _: CaseManager, api: CurrentApi, funded: str = "") -> Response:
    return await _caseload(request, api, funded=bool(funded))


@router.post("/fund")
async def fund(request: Request, _: CaseManager, api: CurrentApi, form: PostedForm) -> Response:
    """The sponsor gets an invoice; the student is enrolled when it is paid."""
    given = {name: form.get(name, "").strip() for name in (*_FIELDS, "student_id", "program", "funding_source")}
    key = form.get("key") or str(uuid4())
    body: dict[str, object] = {sent: given[name] for name, sent in _FIELDS.items() if given[name]}
    body |= {
        "studentId": given["student_id"] or str(uuid5(_NEW_STUDENTS, key)),
        "programId": given["program"],
        "programSlug": given["program"],
        "fundingSource": given["funding_source"],
    }
    try:
        await api.post("checkout", "/api/funding/create-checkout", body, key=key)
    except ServiceError as error:
        if error.status == 401:
            raise
        return await _caseload(request, api, problem=error, given=given)
    return RedirectResponse("/caseload?funded=1", 303)


async def _caseload(
    request: Request,
    api: Api,
    *,
    funded: bool = False,
    problem: ServiceError | None = None,
    given: dict[str, str] | None = None,
) -> Response:
    entries, purchases, enrollments, sponsors, programs = await asyncio.gather(
        api.all("checkout", "/api/admin/caseload"),
        api.all("checkout", "/api/purchases"),
        api.optional("enrollment", "/api/enrollments"),
        api.all("checkout", "/api/admin/sponsors"),
        api.get("checkout", "/api/programs"),
    )
    by_student: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for purchase in purchases:
        by_student[purchase["student_id"]].append(purchase)
    students = [{"id": each["student_id"], "purchases": by_student[each["student_id"]]} for each in entries]
    return render(
        request,
        "caseload.html",
        422 if problem else 200,
        students=students,
        active=sum(each["status"] == "active" for each in enrollments or ()),
        sponsors=[each for each in sponsors if each["active"]],
        programs=programs["items"],
        funded=funded,
        problem=problem,
        given={name: (given or {}).get(name, "") for name in (*_FIELDS, "student_id", "program", "funding_source")},
        key=str(uuid4()),
    )
