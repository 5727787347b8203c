"""Buying a course, or anything else that is paid once, on a Checkout page."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from checkout.catalog.repository import find_item
from checkout.problems import ALREADY_ENROLLED, COURSE_ALREADY_BOUGHT, UNKNOWN_COURSE
from checkout.purchases.context import Returns
from checkout.purchases.dependencies import CurrentPurchases, CurrentSettings, PageFlow, buyer_of
from checkout.purchases.domain import Terms
from checkout.purchases.request_builder import build_request
from contracts.people import ItemKind
from kit.db.unit_of_work import utc_now
from kit.http.auth import CurrentCaller
from kit.http.dependencies import CurrentDatabase
from kit.http.idempotency import IDEMPOTENT, once
from kit.http.openapi import example
from kit.http.problems import Problem

router = APIRouter(tags=["courses"])

_KINDS: tuple[ItemKind, ...] = ("course", "bundle", "track", "program", "product", "service", "merchandise")
"""Everything that is paid once."""


class CourseCheckout(BaseModel, json_schema_extra=example(courseId="cpr")):
    """`courseId`: the id, the slug, or the id in the system that registered it. `termsVersion`: the terms
    that the buyer has seen; without it, the current ones."""

    courseId: Annotated[str, Field(min_length=1, max_length=200)]
    promotionCode: Annotated[str | None, Field(max_length=100)] = None
    termsVersion: Annotated[str | None, Field(max_length=50)] = None


class CourseAnswer(BaseModel):
    url: str


@router.post("/api/checkout", response_model=CourseAnswer, dependencies=IDEMPOTENT)
async def checkout_course(
    request: Request,
    body: CourseCheckout,
    caller: CurrentCaller,
    database: CurrentDatabase,
    settings: CurrentSettings,
    purchases: CurrentPurchases,
    flow: PageFlow,
) -> JSONResponse:
    """A page where the course is paid. Proceeding to it accepts the terms; their version and the time are stored."""

    async def act() -> CourseAnswer:
        async with database.transaction_of(student_id=caller.id, role=caller.role) as db:
            if (item := await find_item(db, body.courseId, kinds=_KINDS)) is None:
                raise UNKNOWN_COURSE()
            wanted, priced = await build_request(db, item, caller.id, at=utc_now(), promotion_code=body.promotionCode)
        page = f"{settings.frontend_url}/courses/{quote(item.external_id or item.slug, safe='')}"
        returns = Returns(success_url=f"{page}?success=1", cancel_url=f"{page}?canceled=1")
        terms = Terms(version=body.termsVersion or settings.terms_version, accepted_at=utc_now())
        try:
            opened = await purchases.open(flow, wanted, buyer_of(caller, returns=returns), quote=priced, terms=terms)
        except Problem as problem:
            if problem.type is ALREADY_ENROLLED:
                raise COURSE_ALREADY_BOUGHT(problem.detail) from None
            raise
        return CourseAnswer(url=opened.url)

    return await once(request, database, caller=str(caller.id), act=act)
