"""What a sponsor has been invoiced for, by a link that an admin makes for its finance office and can revoke."""

from __future__ import annotations

import hashlib
import secrets
from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy import Subquery, case, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from checkout.catalog.tables import sponsors
from checkout.problems import UNKNOWN_LINK, UNKNOWN_SPONSOR
from checkout.purchases.dependencies import CurrentContext
from checkout.purchases.domain import OPEN, State
from checkout.purchases.tables import funding_payments, purchases, sponsor_links
from contracts.audit import Act
from kit.http import audit
from kit.http.auth import Admin
from kit.http.dependencies import CallerUnitOfWork, CurrentDatabase
from kit.http.limits import LIMIT_GUESSES
from kit.http.paging import NEWEST, Cursor, Page, page_of

router = APIRouter(tags=["pay"])
admin_router = APIRouter(prefix="/api/admin/sponsors", tags=["admin"])

_NOBODY = UUID(int=0)
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}
_AS_STORED = (
    "id",
    "program_slug",
    "authorization_number",
    "period_start",
    "period_end",
    "currency",
    "created_at",
)
Token = Annotated[str, Path(max_length=100)]


class SponsorLink(BaseModel):
    """`url` is shown once: only its hash is stored."""

    url: str


class SponsorPurchase(BaseModel):
    """`student`: the name as the invoice states it; null after the student was erased. `pay_url`: where it is paid,
    and `pay_url`/invoice.pdf its document, while it is open. `amount`: without the student's co-pay; `state`: that of
    what the sponsor pays."""

    id: UUID
    student: str | None
    program: str
    authorization_number: str | None
    period_start: date | None
    period_end: date | None
    state: State
    amount: int
    currency: str
    pay_url: str | None
    created_at: datetime


class SponsorStatement(Page[SponsorPurchase]):
    sponsor: str = Field(description="its name")


@router.get("/api/sponsor-statements/{token}", dependencies=[LIMIT_GUESSES])
async def read_sponsor_statement(
    token: Token,
    response: Response,
    database: CurrentDatabase,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    sort: Literal["-created_at", "created_at", "-amount", "amount"] = NEWEST,
    is_open: Annotated[bool | None, Query(alias="open", description="whether it can still be paid")] = None,
    product: Annotated[str | None, Query(max_length=200, description="the slug")] = None,
    authorization_number: Annotated[str | None, Query(max_length=100)] = None,
) -> SponsorStatement:
    """The sponsor's purchases, newest first: open, paid and ended ones. 404 for a link that was revoked."""
    async with database.transaction_of(student_id=_NOBODY, role="student") as db:
        await db.execute(select(func.set_config("app.sponsor_link", _hash(token), True)))
        code = await db.scalar(select(sponsor_links.c.code).where(sponsor_links.c.link_hash == _hash(token)))
        if code is None:
            raise UNKNOWN_LINK()
        name = await db.scalar(select(sponsors.c.name).where(sponsors.c.code == code))
        invoiced = _invoiced(code)
        wanted = select(invoiced)
        if is_open is not None:
            wanted = wanted.where(invoiced.c.state.in_(OPEN) if is_open else invoiced.c.state.not_in(OPEN))
        if product is not None:
            wanted = wanted.where(invoiced.c.program_slug == product)
        if authorization_number is not None:
            wanted = wanted.where(invoiced.c.authorization_number == authorization_number)
        page = await page_of(db, wanted, invoiced, SponsorPurchase, cursor=cursor, limit=limit, sort=sort)
    response.headers.update(_HEADERS)
    return SponsorStatement(items=page.items, next=page.next, sponsor=name or code)


def _invoiced(code: str) -> Subquery:
    """The sponsor's purchases, less what their students pay. The state of one with a co-pay is that of the sponsor's
    share while the purchase goes on."""
    share = select(funding_payments.c.status).where(funding_payments.c.id == purchases.c.id).scalar_subquery()
    has_co_pay = purchases.c.co_pay.is_not(None)
    has_paid = has_co_pay & (purchases.c.state == State.PROCESSING) & (share == "paid")
    owes_again = has_co_pay & (purchases.c.state == State.PAID) & (share == "created")
    return (
        select(
            *(purchases.c[name] for name in _AS_STORED),
            case(
                (has_paid, State.PAID.value),
                (owes_again, State.AWAITING_PAYMENT.value),
                else_=purchases.c.state,
            ).label("state"),
            (purchases.c.amount - func.coalesce(purchases.c.co_pay, 0)).label("amount"),
            purchases.c.session_params["custom_fields"]["Student"].astext.label("student"),
            purchases.c.program_name.label("program"),
            purchases.c.checkout_url.label("pay_url"),
        )
        .where(purchases.c.payer == "sponsor", purchases.c.funding_source == code)
        .subquery()
    )


@admin_router.post("/{code}/link", status_code=201)
async def create_sponsor_link(code: str, _: Admin, uow: CallerUnitOfWork, context: CurrentContext) -> SponsorLink:
    """A new link to the sponsor's invoices. The one before it ends."""
    known = await uow.db.scalar(select(sponsors.c.code).where(sponsors.c.code == code.upper()))
    if known is None:
        raise UNKNOWN_SPONSOR()
    token = secrets.token_urlsafe(32)
    new = insert(sponsor_links).values(code=known, link_hash=_hash(token), created_at=uow.now)
    replaced = {"link_hash": new.excluded.link_hash, "created_at": new.excluded.created_at}
    await uow.db.execute(new.on_conflict_do_update(index_elements=[sponsor_links.c.code], set_=replaced))
    await audit.record(uow, Act.of("sponsor.link_created", "sponsor", known))
    return SponsorLink(url=f"{context.settings.public_url}/sponsor/{token}")


@admin_router.delete("/{code}/link", status_code=204)
async def revoke_sponsor_link(code: str, _: Admin, uow: CallerUnitOfWork) -> None:
    """The link ends. Without one, nothing changes."""
    gone = delete(sponsor_links).where(sponsor_links.c.code == code.upper())
    if (await uow.db.execute(gone)).rowcount:
        await audit.record(uow, Act.of("sponsor.link_revoked", "sponsor", code.upper()))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
