"""Buying a program: programs, payment methods, and the pages on which students and guests pay."""

from __future__ import annotations

from typing import Annotated
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from checkout.catalog import repository as catalog
from checkout.catalog.repository import Item
from checkout.exact_json import ExactJson
from checkout.problems import UNKNOWN_PROGRAM
from checkout.purchases import payment_methods
from checkout.purchases.dependencies import CurrentPurchases, CurrentSettings, PageFlow, buyer_of, guest_of
from checkout.purchases.domain import PaymentType
from checkout.purchases.payment_methods import Offer
from checkout.purchases.price_check import price_mismatch
from checkout.purchases.request_builder import build_request
from checkout.units import MajorUnits, Price, money_of
from contracts.people import ItemKind, Payer
from kit.db.database import Database
from kit.db.unit_of_work import utc_now
from kit.http.auth import MaybeCaller
from kit.http.dependencies import CurrentDatabase
from kit.http.idempotency import HEADER, IDEMPOTENT, once
from kit.http.openapi import example
from kit.http.paging import Page
from kit.http.problems import IDEMPOTENCY_KEY_INVALID, UNAUTHORIZED

router = APIRouter(tags=["checkout"], route_class=ExactJson)

_GUESTS = uuid5(NAMESPACE_URL, "urn:bursar:guest")
_GUESTS_KEY = 20
_PROGRAMS: tuple[ItemKind, ...] = ("program",)

Slug = Annotated[str, Field(min_length=1, max_length=200)]


class ProgramOffer(BaseModel):
    id: UUID
    slug: str
    name: str
    price: Price
    amount: int = Field(description="the price in minor units")
    currency: str
    provider: str | None


class CheckoutRequest(
    BaseModel, json_schema_extra=example(programSlug="barber-apprenticeship", price="4890.00", paymentType="plan")
):
    """`price` is the one that the front end displays; it must be the catalog's."""

    programName: Annotated[str | None, Field(max_length=500)] = None
    programSlug: Slug
    price: MajorUnits
    paymentType: PaymentType
    promotionCode: Annotated[str | None, Field(max_length=100)] = None


class CheckoutAnswer(BaseModel):
    url: str


@router.get("/api/programs")
async def list_programs(database: CurrentDatabase) -> Page[ProgramOffer]:
    """The programs on sale."""
    async with database.transaction() as db:
        found = await catalog.programs_on_sale(db)
    return Page(
        items=[
            ProgramOffer(
                id=program.id,
                slug=program.slug,
                name=program.name,
                price=program.money.to_decimal(),
                amount=program.price,
                currency=program.currency,
                provider=program.provider,
            )
            for program in found
        ]
    )


@router.post("/api/create-checkout-session", response_model=CheckoutAnswer, dependencies=IDEMPOTENT)
async def create_checkout_session(
    request: Request,
    body: CheckoutRequest,
    caller: MaybeCaller,
    database: CurrentDatabase,
    settings: CurrentSettings,
    purchases: CurrentPurchases,
    flow: PageFlow,
) -> JSONResponse:
    """A page where the student pays, at once or in four monthly installments. An open purchase keeps its page."""
    if caller is None and not settings.allow_guest_checkout:
        raise UNAUTHORIZED("Sign in to buy.", headers={"WWW-Authenticate": "Bearer"})
    program = await _program(database, body.programSlug)
    if money_of(body.price, program.currency) != program.money:
        raise price_mismatch(program.money)
    buyer = buyer_of(caller) if caller else guest_of(_guest(request))

    async def act() -> CheckoutAnswer:
        async with database.transaction_of(student_id=buyer.id, role=buyer.role) as db:
            wanted, quote = await build_request(
                db,
                program,
                buyer.id,
                at=utc_now(),
                payment_type=body.paymentType,
                promotion_code=body.promotionCode,
                guest=buyer.guest,
            )
        return CheckoutAnswer(url=(await purchases.open(flow, wanted, buyer, quote=quote)).url)

    return await once(request, database, caller=str(caller.id) if caller else "guest", act=act)


@router.get("/api/payment-methods")
async def list_payment_methods(
    database: CurrentDatabase,
    program: Annotated[str, Query(min_length=1, max_length=200, description="the slug")],
    payer: Annotated[Payer, Query()] = "student",
    paymentType: Annotated[PaymentType, Query()] = "full",
) -> Page[Offer]:
    """Every payment method: whether it is offered for this program and payer, its limits, and why it is not offered."""
    found = await _program(database, program)
    amount = found.money if payer == "student" else found.funding_amount
    return Page(items=payment_methods.offers(amount=amount, payer=payer, payment_type=paymentType))


async def _program(database: Database, slug: str) -> Item:
    async with database.transaction() as db:
        program = await catalog.find_item(db, slug, kinds=_PROGRAMS)
    if program is None:
        raise UNKNOWN_PROGRAM()
    return program


def _guest(request: Request) -> UUID:
    """A student id for a guest. It is derived from the Idempotency-Key, so that a retry finds the purchase.

    So the key must be unguessable: 400 for a short one.
    """
    key = request.headers.get(HEADER)
    if key is not None and len(key) < _GUESTS_KEY:
        detail = f"Without a token, an Idempotency-Key has at least {_GUESTS_KEY} characters: send a UUID."
        raise IDEMPOTENCY_KEY_INVALID(detail)
    return uuid5(_GUESTS, key) if key else uuid4()
