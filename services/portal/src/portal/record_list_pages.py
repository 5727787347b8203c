"""The pages of lists: a page with filters, and the same rows as CSV."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from kit.http.csv_documents import csv_response
from portal.access import SignedInAs
from portal.admin_lists import RECORD_LISTS
from portal.problems import TOO_MANY_ROWS
from portal.record_list import RecordList, address, filled
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError, ServiceUnavailable

router = APIRouter(include_in_schema=False)

ROWS = 25
"""Of a page."""
_EXPORTED_AT_ONCE, _MOST_EXPORTED = 100, 50_000
DISPLAYED = (400, 404, 422)
"""Statuses of a problem with what was asked for, which the page displays."""

DONE = {
    "approve": "The refund request was approved. Stripe makes the refund in a moment.",
    "reject": "The refund request was rejected.",
    "assigned": "The payment was assigned.",
    "refunded": "The payment is being refunded.",
    "removed": "It was removed.",
    "confirmed": "It was recorded.",
    "retried": "It is tried again.",
    "replayed": "The message was returned to its queue.",
    "discarded": "The message was discarded.",
    "funded": "The sponsor gets an invoice. The student is enrolled as soon as it is paid.",
    "contact": "The student's contact was saved.",
    "revoked": "The sponsor's link has ended.",
    "sent": "Stripe has mailed the invoice to the sponsor again.",
}
"""What a page that was redirected to says; by its parameter `done`."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """`answer`: of the list's API; None if there is none. `problem`: why not."""

    status: int
    answer: dict[str, Any] | None = None
    problem: ServiceError | None = None


async def ask(
    request: Request, api: Api, record_list: RecordList, *, displayed: tuple[int, ...] = DISPLAYED
) -> Answered:
    """One page of the list. Raises ServiceError for a status that is not of `displayed`."""
    try:
        answer = await api.get(
            record_list.service,
            filled(record_list.api, request.path_params),
            limit=ROWS,
            cursor=request.query_params.get("cursor"),
            **record_list.query(record_list.chosen(request.query_params)),
        )
    except ServiceUnavailable:
        return Answered(status=200 if "HX-Request" in request.headers else 503)  # htmx displays no other
    except ServiceError as error:
        if error.status not in displayed:
            raise
        return Answered(status=error.status, problem=error)
    return Answered(status=200, answer=answer)


def display(
    request: Request,
    record_list: RecordList,
    answered: Answered,
    *,
    template: str = "admin_list.html",
    refused: ServiceError | None = None,
    **values: object,
) -> Response:
    """`refused`: what was tried on this page, and why it was not done. `values`: of the template, beside the list's."""
    chosen = record_list.chosen(request.query_params)
    path = filled(record_list.path, request.path_params)
    answer = answered.answer
    cursor = answer["next"] if answer else None
    return render(
        request,
        template,
        422 if refused and answered.status == 200 else answered.status,
        record_list=record_list,
        path=path,
        chosen=chosen,
        answer=answer,
        rows=answer["items"] if answer else None,
        problem=answered.problem or refused,
        done=DONE.get(request.query_params.get("done", ""), ""),
        is_first="cursor" not in request.query_params,
        first=address(path, chosen),
        next=address(path, chosen, cursor=cursor) if cursor else "",
        csv=address(f"{path}.csv", chosen),
        **values,
    )


async def show(
    request: Request,
    api: Api,
    record_list: RecordList,
    *,
    template: str = "admin_list.html",
    refused: ServiceError | None = None,
) -> Response:
    return display(request, record_list, await ask(request, api, record_list), template=template, refused=refused)


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
    async def page(request: Request, api: CurrentApi) -> Response:
        return await show(request, api, record_list)

    return page


def csv_page(record_list: RecordList) -> Callable[..., Awaitable[Response]]:
    async def csv(request: Request, api: CurrentApi) -> Response:
        return await export(request, api, record_list)

    return csv


for each in RECORD_LISTS:
    admins = [Depends(SignedInAs("admin"))]
    router.add_api_route(f"{each.path}.csv", csv_page(each), methods=["GET"], dependencies=admins)
    router.add_api_route(each.path, _page(each), methods=["GET"], dependencies=admins)
