"""The pages that create and change items, promotions, sponsors and instructors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.access import Admin
from portal.admin_records import RECORDS
from portal.forms import PostedForm
from portal.record_form import DISPLAYED, Record, changed_body, new_body, texts
from portal.record_list import filled
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError

router = APIRouter(include_in_schema=False)

Page = Callable[..., Awaitable[Response]]


def _show(
    request: Request,
    record: Record,
    given: Mapping[str, str],
    *,
    row: Mapping[str, Any] | None = None,  # Any: what JSON has
    displayed: Mapping[str, str] | None = None,
    problem: ServiceError | None = None,
    idempotency_key: str = "",
) -> Response:
    """`row` None: for a new one. `displayed`: what the form had before it was changed; None: what it has now."""
    return render(
        request,
        "admin_record.html",
        422 if problem else 200,
        record=record,
        row=row,
        path=record.new_path if row is None else record.path(row[record.key]),
        fields=record.form("new" if row is None else "change"),
        given=given,
        displayed={} if row is None else {DISPLAYED + name: text for name, text in (displayed or given).items()},
        related=[] if row is None else [(label, filled(path, row)) for label, path in record.related],
        done="It was saved." if "saved" in request.query_params else "",
        problem=problem,
        idempotency_key=idempotency_key,
    )


def _new(record: Record) -> Page:
    async def new(request: Request, _: Admin) -> Response:
        given = {each.name: each.default for each in record.form("new")}
        return _show(request, record, given, idempotency_key=str(uuid4()))

    return new


def _create(record: Record) -> Page:
    async def create(request: Request, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
        given = texts(record.form("new"), form)
        body = new_body(record.form("new"), given)
        try:
            created = await api.post(
                record.record_list.service, record.record_list.api, body, key=form.get("idempotency_key") or None
            )
        except ServiceError as error:
            if error.status in (401, 403):
                raise
            return _show(request, record, given, problem=error, idempotency_key=str(uuid4()))
        return RedirectResponse(f"{record.path(created[record.key])}?saved=1", 303)

    return create


def _read(record: Record) -> Page:
    async def read(request: Request, key: str, _: Admin, api: CurrentApi) -> Response:
        return await _displayed(request, api, record, key)

    return read


def _change(record: Record) -> Page:
    async def change(request: Request, key: str, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
        fields = record.form("change")
        given, displayed = texts(fields, form), texts(fields, form, prefix=DISPLAYED)
        try:
            if body := changed_body(fields, given, displayed):
                await api.patch(record.record_list.service, record.api(key), body)
        except ServiceError as error:
            if error.status in (401, 403):
                raise
            row = await api.get(record.record_list.service, record.api(key))
            return _show(request, record, given, row=row, displayed=displayed, problem=error)
        return RedirectResponse(f"{record.path(key)}?saved=1", 303)

    return change


def _remove(record: Record) -> Page:
    async def remove(request: Request, key: str, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
        try:
            await api.delete(record.record_list.service, record.api(key))
        except ServiceError as error:
            if error.status in (401, 403):
                raise
            return await _displayed(request, api, record, key, problem=error)
        return RedirectResponse(f"{record.record_list.path}?done=removed", 303)

    return remove


async def _displayed(
    request: Request, api: Api, record: Record, key: str, *, problem: ServiceError | None = None
) -> Response:
    row = await api.get(record.record_list.service, record.api(key))
    given = {each.name: each.text(row) for each in record.form("change")}
    return _show(request, record, given, row=row, problem=problem)


for each in RECORDS:
    router.add_api_route(each.new_path, _new(each), methods=["GET"])
    router.add_api_route(each.new_path, _create(each), methods=["POST"])
    router.add_api_route(f"{each.record_list.path}/{{key}}", _read(each), methods=["GET"])
    router.add_api_route(f"{each.record_list.path}/{{key}}", _change(each), methods=["POST"])
    if each.removal:
        router.add_api_route(f"{each.record_list.path}/{{key}}/remove", _remove(each), methods=["POST"])
