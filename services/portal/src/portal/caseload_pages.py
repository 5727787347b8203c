"""A case manager's students, their contacts, and asking a sponsor to pay for one."""

from __future__ import annotations

import asyncio
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.access import MANAGERS, CaseManager, SignedInAs
from portal.forms import PostedForm
from portal.record_list_pages import ask, csv_page, display, show
from portal.service_client import Api, CurrentApi, ServiceError
from portal.sponsor_invoice import FORM_FIELDS, amount_of
from portal.staff_lists import CASELOAD, CASELOAD_PURCHASES

router = APIRouter(prefix="/caseload", include_in_schema=False)

_NEW_STUDENTS = uuid5(NAMESPACE_URL, "urn:bursar:portal:new-student")
"""A new student's id follows from the form's key, so that a second click is the same student."""
_FIELDS = (*FORM_FIELDS, "cap", "co_pay", "student_id", "program", "funding_source")


@router.get("")
async def show_caseload(request: Request, _: CaseManager, api: CurrentApi) -> Response:
    return await _caseload(request, api)


@router.get("/purchases")
async def show_purchases(request: Request, _: CaseManager, api: CurrentApi) -> Response:
    return await show(request, api, CASELOAD_PURCHASES, template="staff_list.html")


for each in (CASELOAD, CASELOAD_PURCHASES):
    exported = each.path.removeprefix(router.prefix) + ".csv"
    router.add_api_route(exported, csv_page(each), methods=["GET"], dependencies=[Depends(SignedInAs(*MANAGERS))])


@router.post("/fund")
async def fund(request: Request, _: CaseManager, api: CurrentApi, form: PostedForm) -> Response:
    """The sponsor gets an invoice; the student is enrolled when it, and a co-pay if there is one, are paid."""
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
        return await show(request, api, CASELOAD_PURCHASES, template="staff_list.html", refused=error)
    return RedirectResponse("/caseload/purchases?done=sent", 303)


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
    """The body of POST /api/funding/create-checkout. Raises ServiceError for what is no amount."""
    programs = (await api.get("checkout", "/api/programs"))["items"] if given["cap"] or given["co_pay"] else []
    currency = next((each["currency"] for each in programs if each["slug"] == given["program"]), "usd")
    try:
        cap, co_pay = amount_of(given["cap"], currency), amount_of(given["co_pay"], currency)
    except ValueError:
        raise ServiceError(422, "invalid_request", "Write amounts like 4,890.00.", {}) from None
    body: dict[str, object] = {sent: given[name] for name, sent in FORM_FIELDS.items() if given[name]}
    return body | {
        "studentId": given["student_id"] or str(uuid5(_NEW_STUDENTS, key)),
        "programId": given["program"],
        "programSlug": given["program"],
        "fundingSource": given["funding_source"],
        **({"cap": cap} if cap else {}),
        **({"coPay": co_pay} if co_pay else {}),
    }


async def _caseload(
    request: Request,
    api: Api,
    *,
    problem: ServiceError | None = None,
    given: dict[str, str] | None = None,
) -> Response:
    answered, totals, sponsors, programs = await asyncio.gather(
        ask(request, api, CASELOAD),
        api.optional("checkout", "/api/admin/caseload/funding"),
        api.optional("checkout", "/api/admin/sponsors", limit=200),
        api.optional("checkout", "/api/programs"),
    )
    return display(
        request,
        CASELOAD,
        answered,
        template="caseload.html",
        refused=problem,
        totals=totals or [],
        sponsors=[each for each in sponsors or () if each["active"]],
        programs=programs or [],
        given={name: (given or {}).get(name, "") for name in _FIELDS},
    )
