"""What checkout answers to students, guests and case managers."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from checkout.catalog import repository as catalog
from checkout.catalog.repository import Item
from checkout.exact_json import Amount, ExactJson
from checkout.purchases import payment_methods
from checkout.purchases.context import Buyer
from checkout.purchases.dependencies import buyer_of, database_of, guest_of, purchasing_of, settings_of
from checkout.purchases.domain import PaymentType, Wish, funding_amount, same_price
from checkout.purchases.payment_methods import Offer
from checkout.purchases.price_check import price_mismatch
from checkout.purchases.request_builder import wish_for
from checkout.purchases.session_flow import OpenCheckout
from contracts.people import Contact, ItemKind, Payer
from kit.db.unit_of_work import utc_now
from kit.http.auth import CaseManager, MaybeCaller
from kit.http.errors import Problem
from kit.http.idempotency import HEADER, HONOURS_KEY, once
from kit.http.paging import Page

router = APIRouter(tags=["checkout"], route_class=ExactJson)

_GUESTS = uuid5(NAMESPACE_URL, "urn:bursar:guest")
_GUESTS_KEY = 20
_PROGRAMS: tuple[ItemKind, ...] = ("program",)

Slug = Annotated[str, Field(min_length=1, max_length=200)]


class ProgramOffer(BaseModel):
    """`price` is minor units."""

    id: UUID
    slug: str
    name: str
    price: int
    currency: str
    provider: str | None


class CheckoutRequest(BaseModel):
    """What the front end sends. `price` is what it has shown; the catalog's is what counts."""

    programName: Annotated[str | None, Field(max_length=500)] = None
    programSlug: Slug
    price: Amount
    paymentType: PaymentType
    promotionCode: Annotated[str | None, Field(max_length=100)] = None


class CheckoutAnswer(BaseModel):
    url: str


class FundingRequest(BaseModel):
    """`programId` is the caller's own name for the program; the slug says which one it is."""

    studentId: UUID
    programId: Annotated[str, Field(min_length=1, max_length=200)]
    programSlug: Slug
    fundingSource: Annotated[str, Field(min_length=1, max_length=50)] = "WIOA"


class FundingAnswer(BaseModel):
    ok: Literal[True] = True
    url: str
    sessionId: str


@router.get("/api/programs")
async def list_programs(request: Request) -> Page[ProgramOffer]:
    """What is for sale. `price` is minor units."""
    async with database_of(request).transaction() as db:
        found = await catalog.active_programs(db)
    return Page(items=[ProgramOffer.model_validate(program, from_attributes=True) for program in found])


@router.post("/api/create-checkout-session", response_model=CheckoutAnswer, dependencies=HONOURS_KEY)
async def create_checkout_session(request: Request, wanted: CheckoutRequest, caller: MaybeCaller) -> JSONResponse:
    """A page where the student pays, in one sum or in four monthly installments. An open purchase keeps its page."""
    settings = settings_of(request)
    if caller is None and not settings.allow_guest_checkout:
        raise Problem(401, "unauthorized", "Sign in to buy.", headers={"WWW-Authenticate": "Bearer"})
    program = await _program(request, wanted.programSlug)
    if not same_price(wanted.price, program.money):
        raise price_mismatch(program.money)
    buyer = buyer_of(caller) if caller else guest_of(_guest(request))

    async def act() -> CheckoutAnswer:
        async with database_of(request).transaction_of(student_id=buyer.id, role=buyer.role) as db:
            wish, quote = await wish_for(
                db,
                program,
                buyer.id,
                at=utc_now(),
                payment_type=wanted.paymentType,
                promotion_code=wanted.promotionCode,
                guest=buyer.guest,
            )
        opened: OpenCheckout = await purchasing_of(request).open(wish, buyer, quote=quote)
        return CheckoutAnswer(url=opened.url)

    return await once(request, database_of(request), caller=str(caller.id) if caller else "guest", act=act)


@router.get("/api/payment-methods")
async def list_payment_methods(
    request: Request,
    program: Annotated[str, Query(min_length=1, max_length=200, description="the slug")],
    payer: Annotated[Payer, Query()] = "student",
    paymentType: Annotated[PaymentType, Query()] = "full",
) -> Page[Offer]:
    """Every way to pay that there is: whether it is offered here, within which limits, and why not."""
    found = await _program(request, program)
    amount = found.money if payer == "student" else funding_amount(total_cost=found.cost, price=found.money)
    return Page(items=payment_methods.offers(amount=amount, payer=payer, payment_type=paymentType))


@router.post("/api/funding/create-checkout", response_model=FundingAnswer, dependencies=HONOURS_KEY)
async def create_funding_checkout(request: Request, wanted: FundingRequest, caller: CaseManager) -> JSONResponse:
    """A page, and an invoice, with which a sponsor pays for a student."""
    program = await _program(request, wanted.programSlug)
    async with database_of(request).transaction() as db:
        sponsor = await catalog.find_sponsor(db, wanted.fundingSource)
        named = await catalog.slug_of(db, wanted.programId)
    if sponsor is None:
        detail = "Name a funding source that an admin has set up: GET /api/admin/sponsors lists them."
        raise Problem(422, "unknown_funding_source", detail)
    if named not in (None, program.slug):
        raise Problem(422, "program_mismatch", "programId and programSlug name two different programs.")
    bill_to = sponsor.finance_email or settings_of(request).sponsor_finance_email
    if bill_to is None:
        detail = "Give the sponsor a finance_email, or set SPONSOR_FINANCE_EMAIL."
        raise Problem(409, "no_finance_email", detail)
    buyer = Buyer(
        id=caller.id, role=caller.role, bill_to=bill_to, payer_contact=Contact(email=bill_to, name=sponsor.name)
    )
    wish = Wish(
        student_id=wanted.studentId,
        program=program.as_program(id=wanted.programId),
        amount=(cost := funding_amount(total_cost=program.cost, price=program.money)),
        item_id=program.id,
        owner_id=program.owner_id,
        list_price=cost,
        payer="sponsor",
        funding_source=sponsor.code,
    )

    async def act() -> FundingAnswer:
        opened = await purchasing_of(request).open(wish, buyer)
        return FundingAnswer(url=opened.url, sessionId=opened.session_id)

    return await once(request, database_of(request), caller=str(caller.id), act=act)


async def _program(request: Request, slug: str) -> Item:
    async with database_of(request).transaction() as db:
        program = await catalog.find_item(db, slug, kinds=_PROGRAMS)
    if program is None:
        raise Problem(404, "unknown_program", "There is no such program; GET /api/programs lists them.")
    return program


def _guest(request: Request) -> UUID:
    """A student id for somebody who has none. The same Idempotency-Key, the same guest: a retry finds the purchase.

    So the key must be one that nobody else has: 400 for one that could be guessed.
    """
    key = request.headers.get(HEADER)
    if key is not None and len(key) < _GUESTS_KEY:
        detail = f"Without a token, an Idempotency-Key has at least {_GUESTS_KEY} characters: send a UUID."
        raise Problem(400, "idempotency_key_invalid", detail)
    return uuid5(_GUESTS, key) if key else uuid4()
