"""Memberships: bought, looked at, canceled, paused, resumed and changed by their students."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, cast
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy import select

from checkout.memberships import repository
from checkout.memberships.domain import At
from checkout.memberships.service import Managing, membership_of, price_of
from checkout.memberships.tables import memberships
from checkout.purchases import repository as purchase_store
from checkout.purchases.context import Returns
from checkout.purchases.dependencies import buyer_of, database_of, desk_of, purchasing_of, settings_of
from checkout.purchases.domain import Interval
from checkout.purchases.request_builder import wish_for
from checkout.purchases.session_flow import OpenCheckout
from checkout.stripe_client.memberships import StripeMembership
from contracts.payments import SubscriptionStatus
from contracts.people import MEMBERSHIP
from kit.db.unit_of_work import utc_now
from kit.http.auth import CurrentCaller
from kit.http.errors import Problem
from kit.http.idempotency import HONOURS_KEY, once
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(prefix="/api/memberships", tags=["memberships"])

Reference = Annotated[str, Field(min_length=1, max_length=200)]


class NewMembership(BaseModel):
    """`membership`: the slug, or the tier."""

    membership: Reference
    interval: Interval = "month"
    promotion_code: Annotated[str | None, Field(max_length=100)] = None


class NewMembershipAnswer(BaseModel):
    url: str
    sessionId: str


class MembershipView(BaseModel):
    """`status` is Stripe's word for it; `paused`: on purpose, nothing is charged and there is no access."""

    id: UUID
    tier: str
    interval: Interval
    status: SubscriptionStatus
    cancel_at_period_end: bool
    current_period_end: datetime | None
    ended_at: datetime | None
    paused: bool


class ListedMembership(MembershipView):
    student_id: UUID
    created_at: datetime


class CurrentMembership(MembershipView):
    """`access`: whether the enrollment is active, as enrollment says."""

    access: bool


class Cancel(BaseModel):
    at: At = "period_end"


class ChangeMembership(BaseModel):
    """`interval`: the present one where it is left out."""

    membership: Reference
    interval: Interval | None = None


@router.post("", response_model=NewMembershipAnswer, dependencies=HONOURS_KEY)
async def buy_membership(request: Request, wanted: NewMembership, caller: CurrentCaller) -> JSONResponse:
    """A page where the membership begins, and is paid from then on each month or year until it is canceled.

    A promotion code takes its discount off the first invoice.
    """
    page = f"{settings_of(request).frontend_url}/membership"
    returns = Returns(success_url=f"{page}?session_id={{CHECKOUT_SESSION_ID}}", cancel_url=f"{page}?canceled=1")
    buyer = buyer_of(caller, returns=returns)

    async def act() -> NewMembershipAnswer:
        async with desk_of(request).uow(buyer) as uow:
            item = await membership_of(uow.db, wanted.membership)
            wish, quote = await wish_for(
                uow.db,
                item,
                caller.id,
                at=utc_now(),
                how="membership",
                promotion_code=wanted.promotion_code,
                price=price_of(item, wanted.interval),
            )
        try:
            opened: OpenCheckout = await purchasing_of(request).open(
                replace(wish, interval=wanted.interval), buyer, quote=quote
            )
        except Problem as problem:
            if problem.code == "already_enrolled":
                detail = "There is a membership already; change that one: POST /api/memberships/{id}/change."
                raise Problem(409, problem.code, detail) from None
            raise
        return NewMembershipAnswer(url=opened.url, sessionId=opened.session_id)

    return await once(request, database_of(request), caller=str(caller.id), act=act)


@router.get("")
async def list_memberships(
    request: Request,
    caller: CurrentCaller,
    student_id: UUID | None = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[ListedMembership]:
    """A student's own; admins and case managers see all."""
    wanted = select(*(memberships.c[name] for name in ListedMembership.model_fields))
    if student_id is not None:
        wanted = wanted.where(memberships.c.student_id == student_id)
    async with desk_of(request).uow(buyer_of(caller)) as uow:
        return await page_of(uow.db, wanted, memberships, ListedMembership, cursor=cursor, limit=limit)


@router.get("/current")
async def current_membership(request: Request, caller: CurrentCaller) -> CurrentMembership:
    """The caller's membership that has not ended, and whether it gives access now."""
    async with desk_of(request).uow(buyer_of(caller)) as uow:
        row = await repository.running(uow.db, caller.id)
        enrollments = await purchase_store.read_enrollments(uow.db, caller.id, [MEMBERSHIP])
    if row is None:
        raise Problem(404, "no_membership", "There is no membership that has not ended: POST /api/memberships.")
    view = {name: getattr(row, name) for name in MembershipView.model_fields}
    return CurrentMembership(**view, access=any(enrollment.status == "active" for enrollment in enrollments))


@router.post("/{id}/cancel", response_model=MembershipView, dependencies=HONOURS_KEY)
async def cancel_membership(
    request: Request, id: UUID, caller: CurrentCaller, wanted: Cancel | None = None
) -> JSONResponse:
    """At the end of what is paid, or now; nothing more is charged, and what was paid is not paid back by itself."""

    async def act() -> MembershipView:
        return _view(id, await _managing(request).cancel(id, buyer_of(caller), at=(wanted or Cancel()).at))

    return await once(request, database_of(request), caller=str(caller.id), act=act)


@router.post("/{id}/pause", response_model=MembershipView, dependencies=HONOURS_KEY)
async def pause_membership(request: Request, id: UUID, caller: CurrentCaller) -> JSONResponse:
    """Nothing is charged, and there is no access, until it is resumed."""

    async def act() -> MembershipView:
        return _view(id, await _managing(request).pause(id, buyer_of(caller)))

    return await once(request, database_of(request), caller=str(caller.id), act=act)


@router.post("/{id}/resume", response_model=MembershipView, dependencies=HONOURS_KEY)
async def resume_membership(request: Request, id: UUID, caller: CurrentCaller) -> JSONResponse:
    """Takes back a pause, or a cancel that is to come. 402 when a new period has to be paid and is not."""

    async def act() -> MembershipView:
        return _view(id, await _managing(request).resume(id, buyer_of(caller)))

    return await once(request, database_of(request), caller=str(caller.id), act=act)


@router.post("/{id}/change", response_model=MembershipView, dependencies=HONOURS_KEY)
async def change_membership(
    request: Request, id: UUID, wanted: ChangeMembership, caller: CurrentCaller
) -> JSONResponse:
    """Another tier or interval, at once. What costs more is charged now, for the rest of the period; what costs less
    is a credit in the next invoice."""

    async def act() -> MembershipView:
        answer = await _managing(request).change(
            id, buyer_of(caller), reference=wanted.membership, interval=wanted.interval
        )
        return _view(id, answer)

    return await once(request, database_of(request), caller=str(caller.id), act=act)


def _view(id: UUID, told: StripeMembership) -> MembershipView:
    return MembershipView(
        id=id,
        tier=told.tier or "",
        interval=told.interval,
        status=told.status,
        cancel_at_period_end=told.cancel_at_period_end,
        current_period_end=told.current_period_end,
        ended_at=told.ended_at,
        paused=told.paused,
    )


def _managing(request: Request) -> Managing:
    return cast(Managing, request.app.state.memberships)
