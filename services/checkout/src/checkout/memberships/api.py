"""Memberships: buying, listing, canceling, pausing, resuming and changing them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, cast
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import select

from checkout.memberships import repository
from checkout.memberships.domain import At
from checkout.memberships.membership_flow import MembershipFlow
from checkout.memberships.problems import NO_MEMBERSHIP
from checkout.memberships.service import MembershipService, membership_of, price_of
from checkout.memberships.tables import memberships
from checkout.problems import ALREADY_ENROLLED
from checkout.purchases.context import Returns
from checkout.purchases.dependencies import (
    CurrentBuyer,
    CurrentContext,
    CurrentPurchases,
    CurrentSettings,
    buyer_of,
)
from checkout.purchases.domain import Interval
from checkout.purchases.request_builder import build_request
from checkout.purchases.student_repository import read_enrollments
from checkout.stripe_client.memberships import StripeMembership
from contracts.payments import SubscriptionStatus
from contracts.people import MEMBERSHIP
from kit.db.unit_of_work import utc_now
from kit.http.auth import CurrentCaller
from kit.http.dependencies import CallerUnitOfWork, CurrentDatabase
from kit.http.idempotency import IDEMPOTENT, once
from kit.http.openapi import example
from kit.http.paging import Cursor, Page, page_of
from kit.http.problems import Problem

router = APIRouter(prefix="/api/memberships", tags=["memberships"])

Reference = Annotated[str, Field(min_length=1, max_length=200)]


class NewMembership(BaseModel, json_schema_extra=example(membership="plus", interval="year")):
    """`membership`: the slug, or the tier."""

    membership: Reference
    interval: Interval = "month"
    promotion_code: Annotated[str | None, Field(max_length=100)] = None


class NewMembershipAnswer(BaseModel):
    url: str
    sessionId: str


class MembershipView(BaseModel):
    """`status` is Stripe's. `paused`: by the student; nothing is charged, and there is no access."""

    id: UUID
    tier: str
    interval: Interval
    status: SubscriptionStatus
    cancel_at_period_end: bool
    current_period_end: datetime | None
    ended_at: datetime | None
    paused: bool
    resumes_at: datetime | None = Field(description="when the pause ends by itself; null: only by resuming it")


class ListedMembership(MembershipView):
    student_id: UUID
    created_at: datetime


class CurrentMembership(MembershipView):
    """`access`: whether the enrollment is active."""

    access: bool


class Cancel(BaseModel, json_schema_extra=example(at="period_end")):
    at: At = "period_end"


class Pause(BaseModel, json_schema_extra=example(resumes_at="2027-03-01T00:00:00Z")):
    """`resumes_at`: when it ends by itself; omitted: not until it is resumed."""

    resumes_at: AwareDatetime | None = None


class ChangeMembership(BaseModel, json_schema_extra=example(membership="pro", interval="month")):
    """`interval`: the current one if omitted."""

    membership: Reference
    interval: Interval | None = None


def _flow(request: Request) -> MembershipFlow:
    return cast(MembershipFlow, request.app.state.membership_flow)


def _service(request: Request) -> MembershipService:
    return cast(MembershipService, request.app.state.membership_service)


Flow = Annotated[MembershipFlow, Depends(_flow)]
Memberships = Annotated[MembershipService, Depends(_service)]


@router.post("", response_model=NewMembershipAnswer, dependencies=IDEMPOTENT)
async def buy_membership(
    request: Request,
    body: NewMembership,
    caller: CurrentCaller,
    context: CurrentContext,
    settings: CurrentSettings,
    purchases: CurrentPurchases,
    flow: Flow,
) -> JSONResponse:
    """A page where the membership starts. It is charged each month or year from then on, until it is canceled.

    A promotion code takes its discount off the first invoice.
    """
    page = f"{settings.frontend_url}/membership"
    returns = Returns(success_url=f"{page}?session_id={{CHECKOUT_SESSION_ID}}", cancel_url=f"{page}?canceled=1")
    buyer = buyer_of(caller, returns=returns)

    async def act() -> NewMembershipAnswer:
        async with context.unit_of_work(buyer) as uow:
            item = await membership_of(uow.db, body.membership)
            wanted, quote = await build_request(
                uow.db,
                item,
                caller.id,
                at=utc_now(),
                payment_flow="membership",
                promotion_code=body.promotion_code,
                price=price_of(item, body.interval),
                interval=body.interval,
            )
        try:
            opened = await purchases.open(flow, wanted, buyer, quote=quote)
        except Problem as problem:
            if problem.type is ALREADY_ENROLLED:
                detail = "You already have a membership; change that one: POST /api/memberships/{id}/change."
                raise ALREADY_ENROLLED(detail) from None
            raise
        return NewMembershipAnswer(url=opened.url, sessionId=opened.session_id)

    return await once(request, context.database, caller=str(caller.id), act=act)


@router.get("")
async def list_memberships(
    uow: CallerUnitOfWork,
    student_id: UUID | None = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[ListedMembership]:
    """A student's own; admins and case managers see all."""
    wanted = select(*(memberships.c[name] for name in ListedMembership.model_fields))
    if student_id is not None:
        wanted = wanted.where(memberships.c.student_id == student_id)
    return await page_of(uow.db, wanted, memberships, ListedMembership, cursor=cursor, limit=limit)


@router.get("/current")
async def read_current_membership(caller: CurrentCaller, uow: CallerUnitOfWork) -> CurrentMembership:
    """The caller's membership that has not ended, and whether it gives access now."""
    membership = await repository.running(uow.db, caller.id)
    if membership is None:
        raise NO_MEMBERSHIP()
    enrollments = await read_enrollments(uow.db, caller.id, [MEMBERSHIP])
    return CurrentMembership(
        id=membership.id,
        tier=membership.state.tier,
        interval=membership.interval,
        status=membership.state.status,
        cancel_at_period_end=membership.state.cancel_at_period_end,
        current_period_end=membership.state.current_period_end,
        ended_at=membership.state.ended_at,
        paused=membership.state.paused,
        resumes_at=membership.resumes_at if membership.state.paused else None,
        access=any(enrollment.status == "active" for enrollment in enrollments),
    )


@router.post("/{id}/cancel", response_model=MembershipView, dependencies=IDEMPOTENT)
async def cancel_membership(
    request: Request,
    id: UUID,
    buyer: CurrentBuyer,
    database: CurrentDatabase,
    service: Memberships,
    body: Cancel | None = None,
) -> JSONResponse:
    """Cancels at the end of the paid period, or now. Nothing more is charged, and nothing is refunded."""

    async def act() -> MembershipView:
        return _view(id, await service.cancel(id, buyer, at=(body or Cancel()).at))

    return await once(request, database, caller=str(buyer.id), act=act)


@router.post("/{id}/pause", response_model=MembershipView, dependencies=IDEMPOTENT)
async def pause_membership(
    request: Request,
    id: UUID,
    buyer: CurrentBuyer,
    database: CurrentDatabase,
    service: Memberships,
    body: Pause | None = None,
) -> JSONResponse:
    """Nothing is charged, and there is no access, until it is resumed, or until `resumes_at`."""

    async def act() -> MembershipView:
        return _view(id, await service.pause(id, buyer, resumes_at=(body or Pause()).resumes_at))

    return await once(request, database, caller=str(buyer.id), act=act)


@router.post("/{id}/resume", response_model=MembershipView, dependencies=IDEMPOTENT)
async def resume_membership(
    request: Request, id: UUID, buyer: CurrentBuyer, database: CurrentDatabase, service: Memberships
) -> JSONResponse:
    """Undoes a pause, or a scheduled cancellation. 402 when a new period has to be paid and the payment fails."""

    async def act() -> MembershipView:
        return _view(id, await service.resume(id, buyer))

    return await once(request, database, caller=str(buyer.id), act=act)


@router.post("/{id}/change", response_model=MembershipView, dependencies=IDEMPOTENT)
async def change_membership(
    request: Request,
    id: UUID,
    body: ChangeMembership,
    buyer: CurrentBuyer,
    database: CurrentDatabase,
    service: Memberships,
) -> JSONResponse:
    """Changes the tier or the interval at once. A higher price is charged now, for the rest of the period; a lower one
    is a credit on the next invoice."""

    async def act() -> MembershipView:
        answer = await service.change(id, buyer, reference=body.membership, interval=body.interval)
        return _view(id, answer)

    return await once(request, database, caller=str(buyer.id), act=act)


def _view(id: UUID, subscription: StripeMembership) -> MembershipView:
    return MembershipView(
        id=id,
        tier=subscription.tier or "",
        interval=subscription.interval,
        status=subscription.status,
        cancel_at_period_end=subscription.cancel_at_period_end,
        current_period_end=subscription.current_period_end,
        ended_at=subscription.ended_at,
        paused=subscription.paused,
        resumes_at=subscription.resumes_at,
    )
