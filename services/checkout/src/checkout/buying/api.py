"""What checkout answers to students, guests and case managers."""

from __future__ import annotations

from typing import Annotated, Literal, cast
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from checkout import catalog, payment_methods
from checkout.catalog import CatalogProgram
from checkout.domain import PaymentType, Wish, funding_amount, same_price
from checkout.exact_json import Amount, ExactJson
from checkout.mail import is_address
from checkout.payment_methods import Offer
from checkout.purchasing import Buyer, Purchasing
from checkout.settings import ApiSettings
from contracts.money import Money
from contracts.people import Contact, Payer
from kit.auth import Caller, CaseManager, MaybeCaller
from kit.db import Database
from kit.errors import Problem
from kit.idempotency import HEADER, HONOURS_KEY, once
from kit.paging import Page

router = APIRouter(tags=["checkout"], route_class=ExactJson)

_GUESTS = uuid5(NAMESPACE_URL, "urn:bursar:guest")
_GUESTS_KEY = 20

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
    async with _database(request).transaction() as db:
        found = await catalog.active_programs(db)
    return Page(items=[ProgramOffer.model_validate(program, from_attributes=True) for program in found])


@router.post("/api/create-checkout-session", response_model=CheckoutAnswer, dependencies=HONOURS_KEY)
async def create_checkout_session(request: Request, wanted: CheckoutRequest, caller: MaybeCaller) -> JSONResponse:
    """A page where the student pays, in one sum or in four monthly instalments. An open purchase keeps its page."""
    settings = _settings(request)
    if caller is None and not settings.allow_guest_checkout:
        raise Problem(401, "unauthorized", "Sign in to buy.", headers={"WWW-Authenticate": "Bearer"})
    program = await _program(request, wanted.programSlug)
    if not same_price(wanted.price, program.money):
        raise _price_mismatch(program.money)
    buyer = _buyer(caller) if caller else Buyer(id=_guest(request), role="student")
    wish = Wish(
        student_id=buyer.id,
        program=program.as_program(),
        amount=program.money,
        payment_type=wanted.paymentType,
    )

    async def act() -> CheckoutAnswer:
        return CheckoutAnswer(url=(await _purchasing(request).open(wish, buyer)).url)

    return await once(request, _database(request), caller=str(caller.id) if caller else "guest", act=act)


@router.get("/api/payment-methods")
async def list_payment_methods(
    request: Request,
    program: Annotated[str, Query(min_length=1, max_length=200, description="the slug")],
    payer: Annotated[Payer, Query()] = "student",
    paymentType: Annotated[PaymentType, Query()] = "full",
) -> Page[Offer]:
    """Every way to pay that there is: whether it is offered here, within which limits, and why not."""
    found = await _program(request, program)
    amount = found.money if payer == "student" else funding_amount(total_cost=found.cost)
    return Page(items=payment_methods.offers(amount=amount, payer=payer, payment_type=paymentType))


@router.post("/api/funding/create-checkout", response_model=FundingAnswer, dependencies=HONOURS_KEY)
async def create_funding_checkout(request: Request, wanted: FundingRequest, caller: CaseManager) -> JSONResponse:
    """A page, and an invoice, with which a sponsor pays for a student."""
    program = await _program(request, wanted.programSlug)
    async with _database(request).transaction() as db:
        sponsor = await catalog.find_sponsor(db, wanted.fundingSource)
        named = await catalog.slug_of(db, wanted.programId)
    if sponsor is None:
        detail = "Name a funding source that an admin has set up: GET /api/admin/sponsors lists them."
        raise Problem(422, "unknown_funding_source", detail)
    if named not in (None, program.slug):
        raise Problem(422, "program_mismatch", "programId and programSlug name two different programs.")
    bill_to = sponsor.finance_email or _settings(request).sponsor_finance_email
    if bill_to is None:
        detail = "Give the sponsor a finance_email, or set SPONSOR_FINANCE_EMAIL."
        raise Problem(409, "no_finance_email", detail)
    buyer = Buyer(
        id=caller.id, role=caller.role, bill_to=bill_to, payer_contact=Contact(email=bill_to, name=sponsor.name)
    )
    wish = Wish(
        student_id=wanted.studentId,
        program=program.as_program(id=wanted.programId),
        amount=funding_amount(total_cost=program.cost),
        payer="sponsor",
        funding_source=sponsor.code,
    )

    async def act() -> FundingAnswer:
        opened = await _purchasing(request).open(wish, buyer)
        return FundingAnswer(url=opened.url, sessionId=opened.session_id)

    return await once(request, _database(request), caller=str(caller.id), act=act)


async def _program(request: Request, slug: str) -> CatalogProgram:
    async with _database(request).transaction() as db:
        program = await catalog.find_program(db, slug)
    if program is None:
        raise Problem(404, "unknown_program", "There is no such program; GET /api/programs lists them.")
    return program


def _price_mismatch(right: Money) -> Problem:
    return Problem(
        409,
        "price_mismatch",
        f"The price is {right}. Show that, and send it.",
        price=right.amount,
        currency=right.currency,
        price_major=str(right.to_decimal()),
    )


def _buyer(caller: Caller) -> Buyer:
    email = caller.email if caller.email and is_address(caller.email) else None
    contact = Contact(email=email, name=caller.name[:200] if caller.name else None) if email else None
    return Buyer(id=caller.id, role=caller.role, bill_to=email, contact=contact)


def _guest(request: Request) -> UUID:
    """A student id for somebody who has none. The same Idempotency-Key, the same guest: a retry finds the purchase.

    So the key must be one that nobody else has: 400 for one that could be guessed.
    """
    key = request.headers.get(HEADER)
    if key is not None and len(key) < _GUESTS_KEY:
        detail = f"Without a token, an Idempotency-Key has at least {_GUESTS_KEY} characters: send a UUID."
        raise Problem(400, "idempotency_key_invalid", detail)
    return uuid5(_GUESTS, key) if key else uuid4()


def _database(request: Request) -> Database:
    return cast(Database, request.app.state.database)


def _settings(request: Request) -> ApiSettings:
    return cast(ApiSettings, request.app.state.settings)


def _purchasing(request: Request) -> Purchasing:
    return cast(Purchasing, request.app.state.purchasing)
