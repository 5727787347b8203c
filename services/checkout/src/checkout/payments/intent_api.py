"""Paying by a payment intent (`create-payment` for a track, `create-intent` for any item), and its status."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, cast
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from checkout.catalog.repository import find_item
from checkout.exact_json import ExactJson
from checkout.payments.domain import PaymentStatus
from checkout.payments.intent_flow import IntentFlow
from checkout.payments.repository import payment_by_intent
from checkout.problems import UNKNOWN_ITEM, UNKNOWN_PAYMENT, UNKNOWN_TRACK, USE_MEMBERSHIPS
from checkout.purchases.context import Returns, stripe_errors_as_problems
from checkout.purchases.dependencies import (
    CurrentContext,
    CurrentPurchases,
    CurrentSettings,
    PageFlow,
    allowed_url,
    buyer_of,
)
from checkout.purchases.price_check import DisplayedAmount, PriceCheck, check_price
from checkout.purchases.request_builder import build_request
from checkout.purchases.service import PurchaseService
from checkout.settings import ApiSettings
from checkout.stripe_client import StripeRejected
from checkout.stripe_client.intents import IntentStatus
from contracts.people import ItemKind
from kit.db.database import Database
from kit.db.unit_of_work import utc_now
from kit.http.auth import Caller, CurrentCaller
from kit.http.dependencies import CurrentDatabase
from kit.http.idempotency import IDEMPOTENT, once
from kit.http.openapi import example

router = APIRouter(tags=["payments"], route_class=ExactJson)

Reference = Annotated[str, Field(min_length=1, max_length=200)]
Code = Annotated[str | None, Field(max_length=100)]
Url = Annotated[str, Field(min_length=1, max_length=2000)]
_TRACKS: tuple[ItemKind, ...] = ("track",)
_MEMBERSHIPS = "membership"


class TrackPayment(BaseModel, json_schema_extra=example(track="data-protection", amount=240_000, currency="usd")):
    """`amount` and `currency` are the ones that the front end displays; they must be the catalog's."""

    track: Reference
    amount: DisplayedAmount = None
    currency: Annotated[str | None, Field(max_length=3)] = None
    promotionCode: Code = None


class IntentAnswer(BaseModel):
    """`amount` is minor units. `clientSecret` null: nothing is due, so nothing has to be confirmed."""

    clientSecret: str | None
    paymentIntentId: str | None
    amount: int
    currency: str
    publishableKey: str


class TrackSession(
    BaseModel,
    json_schema_extra=example(
        track="data-protection",
        success_url="https://school.example.com/done",
        cancel_url="https://school.example.com/canceled",
    ),
):
    track: Reference
    success_url: Url
    cancel_url: Url
    promotionCode: Code = None


class SessionAnswer(BaseModel):
    sessionId: str
    url: str


class NewIntent(BaseModel, json_schema_extra=example(itemId="cpr", amount=57_500, currency="usd")):
    """`itemId`: the slug, the id, or (with `itemType`) the id in the system that registered it."""

    itemId: Reference
    itemType: ItemKind | None = None
    amount: DisplayedAmount = None
    currency: Annotated[str | None, Field(max_length=3)] = None
    promotionCode: Code = None


class Breakdown(BaseModel):
    """Minor units: `total` = `subtotal` - `discount`."""

    subtotal: int
    discount: int
    total: int
    currency: str
    promotion_code: str | None


class NewIntentAnswer(IntentAnswer):
    paymentId: UUID
    purchaseId: UUID
    breakdown: Breakdown


class Confirmation(BaseModel, json_schema_extra=example(paymentIntentId="pi_3MtwBwLkdIwHu7ix28a3tqPa")):
    paymentIntentId: Annotated[str, Field(min_length=1, max_length=255)]


class Confirmed(BaseModel):
    """`status` is Stripe's. `paymentStatus` is checkout's: it follows the verified event, like the enrollment."""

    paymentId: UUID
    paymentIntentId: str
    status: IntentStatus
    paymentStatus: PaymentStatus
    amount: int
    currency: str


@dataclass(frozen=True)
class IntentCheckout:
    """Opens an intent for what a caller asks to buy."""

    database: Database
    settings: ApiSettings
    purchases: PurchaseService
    flow: IntentFlow

    async def open(self, caller: Caller, sent: PriceCheck) -> NewIntentAnswer:
        buyer = buyer_of(caller)
        async with self.database.transaction_of(student_id=buyer.id, role=buyer.role) as db:
            if (item := await find_item(db, sent.reference, kinds=sent.kinds)) is None:
                raise UNKNOWN_TRACK() if sent.kinds == _TRACKS else UNKNOWN_ITEM()
            if item.kind == _MEMBERSHIPS:
                raise USE_MEMBERSHIPS()
            wanted, quote = await build_request(
                db, item, buyer.id, at=utc_now(), payment_flow="intent", promotion_code=sent.promotion_code
            )
        check_price(sent, item.money, wanted.amount)
        opened = await self.purchases.open(self.flow, wanted, buyer, quote=quote)
        return NewIntentAnswer(
            clientSecret=opened.client_secret,
            paymentIntentId=opened.intent_id,
            amount=opened.amount.amount,
            currency=opened.amount.currency,
            publishableKey=self.settings.stripe_publishable_key,
            paymentId=opened.payment_id,
            purchaseId=opened.purchase_id,
            breakdown=Breakdown(
                subtotal=quote.list_price.amount,
                discount=quote.discount.amount,
                total=quote.total.amount,
                currency=quote.total.currency,
                promotion_code=wanted.promotion_code,
            ),
        )


def _intent_checkout(
    request: Request, database: CurrentDatabase, settings: CurrentSettings, purchases: CurrentPurchases
) -> IntentCheckout:
    return IntentCheckout(database, settings, purchases, cast(IntentFlow, request.app.state.intent_flow))


CurrentIntentCheckout = Annotated[IntentCheckout, Depends(_intent_checkout)]


@router.post("/api/payments/create-payment", response_model=IntentAnswer, dependencies=IDEMPOTENT)
async def create_payment(
    request: Request, body: TrackPayment, caller: CurrentCaller, checkout: CurrentIntentCheckout
) -> JSONResponse:
    """An intent for a track, at the catalog's price."""

    async def act() -> IntentAnswer:
        opened = await checkout.open(caller, _price_check(body, body.track.lower(), _TRACKS))
        return IntentAnswer.model_validate(opened.model_dump(include=set(IntentAnswer.model_fields)))

    return await once(request, checkout.database, caller=str(caller.id), act=act)


@router.post("/api/payments/create-checkout-session", response_model=SessionAnswer, dependencies=IDEMPOTENT)
async def create_track_session(
    request: Request,
    body: TrackSession,
    caller: CurrentCaller,
    database: CurrentDatabase,
    settings: CurrentSettings,
    purchases: CurrentPurchases,
    flow: PageFlow,
) -> JSONResponse:
    """A Checkout page for a track. Both URLs must be on the allow-list."""
    returns = Returns(
        success_url=allowed_url(settings, body.success_url, "success_url"),
        cancel_url=allowed_url(settings, body.cancel_url, "cancel_url"),
    )
    buyer = buyer_of(caller, returns=returns)

    async def act() -> SessionAnswer:
        async with database.transaction_of(student_id=buyer.id, role=buyer.role) as db:
            if (item := await find_item(db, body.track.lower(), kinds=_TRACKS)) is None:
                raise UNKNOWN_TRACK()
            wanted, quote = await build_request(db, item, buyer.id, at=utc_now(), promotion_code=body.promotionCode)
        opened = await purchases.open(flow, wanted, buyer, quote=quote)
        return SessionAnswer(sessionId=opened.session_id, url=opened.url)

    return await once(request, database, caller=str(caller.id), act=act)


@router.post("/api/payments/create-intent", response_model=NewIntentAnswer, dependencies=IDEMPOTENT)
async def create_intent(
    request: Request, body: NewIntent, caller: CurrentCaller, checkout: CurrentIntentCheckout
) -> JSONResponse:
    """An intent for any item that is paid at once."""

    async def act() -> NewIntentAnswer:
        kinds = None if body.itemType is None else (body.itemType,)
        return await checkout.open(caller, _price_check(body, body.itemId, kinds))

    return await once(request, checkout.database, caller=str(caller.id), act=act)


@router.post("/api/payments/confirm-payment")
async def confirm_payment(
    body: Confirmation, caller: CurrentCaller, database: CurrentDatabase, context: CurrentContext
) -> Confirmed:
    """The status of the payment at Stripe. It grants nothing: only a verified event does."""
    async with database.transaction_of(student_id=caller.id, role=caller.role) as db:
        row = await payment_by_intent(db, body.paymentIntentId)
    if row is None:
        raise UNKNOWN_PAYMENT("Payment not found.")
    try:
        with stripe_errors_as_problems():
            intent = await context.stripe.intent(body.paymentIntentId)
    except StripeRejected:
        raise UNKNOWN_PAYMENT("Payment not found at Stripe.") from None
    return Confirmed(
        paymentId=row.id,
        paymentIntentId=intent.id,
        status=intent.status,
        paymentStatus=row.status,
        amount=intent.amount.amount,
        currency=intent.amount.currency,
    )


def _price_check(body: TrackPayment | NewIntent, reference: str, kinds: Collection[ItemKind] | None) -> PriceCheck:
    return PriceCheck(
        reference=reference,
        kinds=kinds,
        amount=body.amount,
        currency=body.currency,
        promotion_code=body.promotionCode,
    )
