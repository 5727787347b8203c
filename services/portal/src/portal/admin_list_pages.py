"""The lists of the administration: a page with filters, and the same rows as CSV."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from starlette.responses import Response

from kit.http.csv_documents import csv_response
from portal.access import Admin
from portal.admin_lists import RECORD_LISTS
from portal.problems import TOO_MANY_ROWS
from portal.record_list import RecordList, address, filled
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError, ServiceUnavailable

router = APIRouter(include_in_schema=False)

ROWS = 25
"""Of a page."""
_EXPORTED_AT_ONCE, _MOST_EXPORTED = 100, 50_000

DONE = {
    "approve": "The refund request was approved. Stripe makes the refund in a moment.",
    "reject": "The refund request was rejected.",
    "assigned": "The payment was assigned.",
    "refunded": "The payment is being refunded.",
    "removed": "It was removed.",
    "confirmed": "It was recorded.",
    "retried": "It is tried again.",
}
"""What a page that was redirected to says; by its parameter `done`."""


async def show(request: Request, api: Api, record_list: RecordList, *, refused: ServiceError | None = None) -> Response:
    """`refused`: what was tried on this page, and why it was not done."""
    chosen = record_list.chosen(request.query_params)
    problem, rows, cursor = refused, None, None
    try:
        page = await api.get(
            record_list.service,
            filled(record_list.api, request.path_params),
            limit=ROWS,
            cursor=request.query_params.get("cursor"),
            **record_list.query(chosen),
        )
        rows, cursor = page["items"], page["next"]
    except ServiceUnavailable:
        status = 200 if "HX-Request" in request.headers else 503  # htmx displays no other
    except ServiceError as error:
        if error.status not in (400, 404, 422):
            raise
        problem, status = error, error.status
    else:
        status = 422 if refused else 200
    path = filled(record_list.path, request.path_params)
    return render(
        request,
        "admin_list.html",
        status,
        record_list=record_list,
        path=path,
        chosen=chosen,
        rows=rows,
        problem=problem,
        done=DONE.get(request.query_params.get("done", ""), ""),
        is_first="cursor" not in request.query_params,
        first=address(path, chosen),
        next=address(path, chosen, cursor=cursor) if cursor else "",
        csv=address(f"{path}.csv", chosen),
    )


async def export(request: Request, api: Api, record_list: RecordList) -> Response:
    """All rows of the filters. Raises Problem 422 for more than a spreadsheet is good for."""
    query = record_list.query(record_list.chosen(request.query_params))
    rows: list[list[object]] = []
    cursor: str | None = None
    while len(rows) <= _MOST_EXPORTED:
        path = filled(record_list.api, request.path_params)
        page = await api.get(record_list.service, path, limit=_EXPORTED_AT_ONCE, cursor=cursor, **query)
        rows += [record_list.cells(row) for row in page["items"]]
        if (cursor := page["next"]) is None:
            return csv_response(record_list.fields, rows, filename=record_list.filename)
    raise TOO_MANY_ROWS(f"There are more than {_MOST_EXPORTED:,} rows. Choose a filter.")


def _page(record_list: RecordList) -> Callable[..., Awaitable[Response]]:
    async def page(request: Request, _: Admin, api: CurrentApi) -> Response:
        return await show(request, api, record_list)

    return page


def _csv(record_list: RecordList) -> Callable[..., Awaitable[Response]]:
    async def csv(request: Request, _: Admin, api: CurrentApi) -> Response:
        return await export(request, api, record_list)

    return csv


for each in RECORD_LISTS:
    router.add_api_route(f"{each.path}.csv", _csv(each), methods=["GET"])
    router.add_api_route(each.path, _page(each), methods=["GET"])
