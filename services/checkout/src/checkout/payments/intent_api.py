"""Paying by an intent: `create-payment` for a track, `create-intent` for anything, and what became of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from checkout.catalog.repository import find_item
from checkout.exact_json import Amount, ExactJson
from checkout.payments.intent_flow import OpenIntent
from checkout.payments.repository import payment_by_intent
from checkout.purchases.context import Returns, in_our_words
from checkout.purchases.dependencies import allowed_url, buyer_of, database_of, desk_of, purchasing_of, settings_of
from checkout.purchases.price_check import Asked, price_as_shown
from checkout.purchases.request_builder import wish_for
from checkout.purchases.session_flow import OpenCheckout
from checkout.stripe_client import StripeRefuses
from contracts.people import ItemKind
from kit.db.unit_of_work import utc_now
from kit.http.auth import Caller, CurrentCaller
from kit.http.errors import Problem
from kit.http.idempotency import HONOURS_KEY, once

router = APIRouter(tags=["payments"], route_class=ExactJson)

Reference = Annotated[str, Field(min_length=1, max_length=200)]
Code = Annotated[str | None, Field(max_length=100)]
Url = Annotated[str, Field(min_length=1, max_length=2000)]
_TRACKS: tuple[ItemKind, ...] = ("track",)
_MEMBERSHIPS = "membership"


class TrackPayment(BaseModel):
    """`amount` and `currency` are what the front end has shown; the catalog's are what counts."""

    track: Reference
    amount: Amount = None
    currency: Annotated[str | None, Field(max_length=3)] = None
    promotionCode: Code = None


class IntentAnswer(BaseModel):
    """`amount` is minor units. `clientSecret` null: nothing is due, and nothing has to be confirmed."""

    clientSecret: str | None
    paymentIntentId: str | None
    amount: int
    currency: str
    publishableKey: str


class TrackSession(BaseModel):
    track: Reference
    success_url: Url
    cancel_url: Url
    promotionCode: Code = None


class SessionAnswer(BaseModel):
    sessionId: str
    url: str


class NewIntent(BaseModel):
    """`itemId`: the slug, the id, or (with `itemType`) the id in the system that registered it."""

    itemId: Reference
    itemType: ItemKind | None = None
    amount: Amount = None
    currency: Annotated[str | None, Field(max_length=3)] = None
    promotionCode: Code = None


class Breakdown(BaseModel):
    """Minor units."""

    list_price: int
    discount: int
    total: int
    promotion_code: str | None


class NewIntentAnswer(IntentAnswer):
    paymentId: UUID
    purchaseId: UUID
    breakdown: Breakdown


class Confirmation(BaseModel):
    paymentIntentId: Annotated[str, Field(min_length=1, max_length=255)]


class Confirmed(BaseModel):
    """`status` is Stripe's, `paymentStatus` ours: it follows the verified event, and the enrollment with it."""

    paymentId: UUID
    paymentIntentId: str
    status: str
    paymentStatus: str
    amount: int
    currency: str


@router.post("/api/payments/create-payment", response_model=IntentAnswer, dependencies=HONOURS_KEY)
async def create_payment(request: Request, wanted: TrackPayment, caller: CurrentCaller) -> JSONResponse:
    """An intent for a track, at the catalog's price."""

    async def act() -> IntentAnswer:
        asked = _asked(wanted, wanted.track.lower(), _TRACKS)
        made = await _intent(request, caller, asked)
        return IntentAnswer.model_validate(made.model_dump(include=set(IntentAnswer.model_fields)))

    return await once(request, database_of(request), caller=str(caller.id), act=act)


@router.post("/api/payments/create-checkout-session", response_model=SessionAnswer, dependencies=HONOURS_KEY)
async def create_track_session(request: Request, wanted: TrackSession, caller: CurrentCaller) -> JSONResponse:
    """A page of Stripe's for a track. Both URLs must be on the allow-list."""
    settings = settings_of(request)
    returns = Returns(
        success_url=allowed_url(settings, wanted.success_url, "success_url"),
        cancel_url=allowed_url(settings, wanted.cancel_url, "cancel_url"),
    )
    buyer = buyer_of(caller, returns=returns)

    async def act() -> SessionAnswer:
        async with database_of(request).transaction_of(student_id=buyer.id, role=buyer.role) as db:
            if (item := await find_item(db, wanted.track.lower(), kinds=_TRACKS)) is None:
                raise unknown_item("track")
            wish, quote = await wish_for(db, item, buyer.id, at=utc_now(), promotion_code=wanted.promotionCode)
        opened: OpenCheckout = await purchasing_of(request).open(wish, buyer, quote=quote)
        return SessionAnswer(sessionId=opened.session_id, url=opened.url)

    return await once(request, database_of(request), caller=str(caller.id), act=act)


@router.post("/api/payments/create-intent", response_model=NewIntentAnswer, dependencies=HONOURS_KEY)
async def create_intent(request: Request, wanted: NewIntent, caller: CurrentCaller) -> JSONResponse:
    """An intent for anything that is paid in one sum."""

    async def act() -> NewIntentAnswer:
        kinds = None if wanted.itemType is None else (wanted.itemType,)
        return await _intent(request, caller, _asked(wanted, wanted.itemId, kinds))

    return await once(request, database_of(request), caller=str(caller.id), act=act)


@router.post("/api/payments/confirm-payment")
async def confirm_payment(request: Request, wanted: Confirmation, caller: CurrentCaller) -> Confirmed:
    """How the payment stands at Stripe. It grants nothing: only a verified event does."""
    async with database_of(request).transaction_of(student_id=caller.id, role=caller.role) as db:
        row = await payment_by_intent(db, wanted.paymentIntentId)
    if row is None:
        raise Problem(404, "unknown_payment", "There is no such payment of yours.")
    try:
        with in_our_words():
            intent = await desk_of(request).stripe.intent(wanted.paymentIntentId)
    except StripeRefuses:
        raise Problem(404, "unknown_payment", "Stripe does not know this payment.") from None
    return Confirmed(
        paymentId=row.id,
        paymentIntentId=intent.id,
        status=intent.status,
        paymentStatus=row.status,
        amount=intent.amount.amount,
        currency=intent.amount.currency,
    )


def _asked(wanted: TrackPayment | NewIntent, reference: str, kinds: Collection[ItemKind] | None) -> Asked:
    return Asked(
        reference=reference,
        kinds=kinds,
        shown="amount" in wanted.model_fields_set,
        amount=wanted.amount,
        currency=wanted.currency,
        promotion_code=wanted.promotionCode,
    )


async def _intent(request: Request, caller: Caller, asked: Asked) -> NewIntentAnswer:
    buyer = buyer_of(caller)
    async with database_of(request).transaction_of(student_id=buyer.id, role=buyer.role) as db:
        if (item := await find_item(db, asked.reference, kinds=asked.kinds)) is None:
            raise unknown_item("track" if asked.kinds == _TRACKS else "item")
        if item.kind == _MEMBERSHIPS:
            raise Problem(409, "use_memberships", "A membership is a subscription: POST /api/memberships.")
        wish, quote = await wish_for(
            db, item, buyer.id, at=utc_now(), how="intent", promotion_code=asked.promotion_code
        )
    price_as_shown(asked, item.money, wish.amount)
    opened: OpenIntent = await purchasing_of(request).open(wish, buyer, quote=quote)
    return NewIntentAnswer(
        clientSecret=opened.client_secret,
        paymentIntentId=opened.intent_id,
        amount=opened.amount.amount,
        currency=opened.amount.currency,
        publishableKey=settings_of(request).stripe_publishable_key,
        paymentId=opened.payment_id,
        purchaseId=opened.purchase_id,
        breakdown=Breakdown(
            list_price=quote.list_price.amount,
            discount=quote.discount.amount,
            total=quote.total.amount,
            promotion_code=wish.promotion_code,
        ),
    )


def unknown_item(kind: str) -> Problem:
    return Problem(404, f"unknown_{kind}", f"There is no such {kind} on sale; GET /api/catalog lists what is.")
