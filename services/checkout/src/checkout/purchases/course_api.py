"""Buying a course, or a bundle of them, on a page of Stripe's."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from checkout.catalog.repository import find_item
from checkout.purchases.context import Returns, Terms
from checkout.purchases.dependencies import buyer_of, database_of, purchasing_of, settings_of
from checkout.purchases.request_builder import wish_for
from checkout.purchases.session_flow import OpenCheckout
from contracts.people import ItemKind
from kit.db.unit_of_work import utc_now
from kit.http.auth import CurrentCaller
from kit.http.errors import Problem
from kit.http.idempotency import HONOURS_KEY, once

router = APIRouter(tags=["courses"])

_KINDS: tuple[ItemKind, ...] = ("course", "bundle", "track", "program")


class CourseCheckout(BaseModel):
    """`termsVersion`: which terms the buyer was shown; without it, those that hold now."""

    courseId: Annotated[str, Field(min_length=1, max_length=200)]
    promotionCode: Annotated[str | None, Field(max_length=100)] = None
    termsVersion: Annotated[str | None, Field(max_length=50)] = None


class CourseAnswer(BaseModel):
    url: str


@router.post("/api/checkout", response_model=CourseAnswer, dependencies=HONOURS_KEY)
async def checkout_course(request: Request, wanted: CourseCheckout, caller: CurrentCaller) -> JSONResponse:
    """A page where the course is paid. To go there is to accept the terms: which, and when, is kept."""
    settings = settings_of(request)

    async def act() -> CourseAnswer:
        async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
            if (item := await find_item(db, wanted.courseId, kinds=_KINDS)) is None:
                raise Problem(404, "unknown_course", "There is no such course on sale; GET /api/catalog lists them.")
            wish, priced = await wish_for(db, item, caller.id, at=utc_now(), promotion_code=wanted.promotionCode)
        page = f"{settings.frontend_url}/courses/{quote(item.external_id or item.slug, safe='')}"
        returns = Returns(success_url=f"{page}?success=1", cancel_url=f"{page}?canceled=1")
        terms = Terms(version=wanted.termsVersion or settings.terms_version, accepted_at=utc_now())
        try:
            opened: OpenCheckout = await purchasing_of(request).open(
                wish, buyer_of(caller, returns=returns), quote=priced, terms=terms
            )
        except Problem as problem:
            if problem.code == "already_enrolled":
                raise Problem(400, problem.code, problem.detail) from None
            raise
        return CourseAnswer(url=opened.url)

    return await once(request, database_of(request), caller=str(caller.id), act=act)
