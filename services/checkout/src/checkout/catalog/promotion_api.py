"""Promotion codes: admin routes, the price with a code, and a student's own referral code."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    Field,
    StrictBool,
    StrictInt,
    model_validator,
)
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog.dependencies import Body, CatalogUnitOfWork, Limit, already_exists, catalog_unit_of_work
from checkout.catalog.item import CODE, MOST, Slug
from checkout.catalog.problems import NO_ANNUAL_PRICE, NO_CODE_FOUND, NO_REFERRAL_CODE, UNKNOWN_PART
from checkout.catalog.promotion_repository import aware, normalized, quote
from checkout.catalog.repository import find_item
from checkout.catalog.service import InvalidItem
from checkout.catalog.tables import items, promotion_codes, redemptions
from checkout.problems import UNKNOWN_ITEM, UNKNOWN_PROMOTION
from contracts.audit import Act
from contracts.money import Currency
from contracts.people import ItemKind
from kit.db.database import row_dict
from kit.http import audit
from kit.http.auth import Admin, Caller, CurrentCaller, requires
from kit.http.dependencies import CallerUnitOfWork, CurrentDatabase
from kit.http.idempotency import IDEMPOTENT, once
from kit.http.limits import LIMIT_GUESSES
from kit.http.openapi import example
from kit.http.paging import NEWEST, Cursor, Page, page_of

router = APIRouter(tags=["promotions"])

Student = Annotated[Caller, Depends(requires("student"))]
Code = Annotated[
    str,
    BeforeValidator(lambda sent: normalized(sent) if isinstance(sent, str) else sent),
    Field(pattern=CODE, max_length=50),
]
Percent = Annotated[StrictInt, Field(ge=1, le=100)]
Count = Annotated[StrictInt, Field(ge=1, le=1_000_000)]
Minor = Annotated[StrictInt, Field(ge=1, le=MOST, description="minor units")]
Kinds = Annotated[tuple[ItemKind, ...], Field(min_length=1)]
Slugs = Annotated[tuple[Slug, ...], Field(min_length=1, max_length=200)]

_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)


def _in_range(moment: datetime) -> datetime:
    """PostgreSQL stores the first and the last moment of a datetime as infinities."""
    if not _EARLIEST <= moment < _LATEST:
        raise ValueError("the time must be between the years 2000 and 2999")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_in_range)]

_LETTERS = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
"""Without letters and digits that look alike."""
_LENGTH = 10
"""Of 30 letters: 49 bits."""
_TRIES = 5


class Terms(Body):
    """Either `percent_off`, or `amount_off` in `currency`. Without `kinds` and `items` (slugs) it applies to
    everything; with both, to what either names. Valid from `valid_from` (inclusive) until `valid_until` (exclusive)."""

    percent_off: Percent | None = None
    amount_off: Minor | None = None
    currency: Currency | None = None
    kinds: Kinds | None = None
    items: Slugs | None = None
    valid_from: Moment | None = None
    valid_until: Moment | None = None
    most_uses: Count | None = None
    most_per_student: Count | None = None
    active: StrictBool = True


class _Whole(Terms):
    @model_validator(mode="after")
    def _fits(self) -> _Whole:
        if (self.percent_off is None) == (self.amount_off is None):
            raise ValueError("a code has either percent_off or amount_off")
        if self.amount_off is not None and self.currency is None:
            raise ValueError("amount_off needs its currency")
        if self.valid_from and self.valid_until and self.valid_from >= self.valid_until:
            raise ValueError("valid_from must be before valid_until")
        return self


class NewPromotion(
    _Whole, json_schema_extra=example(code="SPRING10", percent_off=10, kinds=["program"], most_uses=100)
):
    code: Code


class PromotionChange(Terms, json_schema_extra=example(valid_until="2027-06-01T00:00:00Z")):
    """Only the fields that are sent are changed. Purchases that have been started keep their discount."""


class PromotionView(BaseModel):
    """It has no constraints: what is stored can be displayed, so that an admin can correct it. `uses` are reserved or
    redeemed."""

    id: UUID
    code: str
    percent_off: int | None
    amount_off: int | None
    currency: str | None
    kinds: tuple[str, ...] | None
    items: tuple[str, ...] | None
    valid_from: Annotated[datetime | None, BeforeValidator(aware)]
    valid_until: Annotated[datetime | None, BeforeValidator(aware)]
    most_uses: int | None
    most_per_student: int | None
    active: bool
    uses: int
    guest_holds: int = Field(description="of the uses: how many guests have reserved and not paid")
    referrer_id: UUID | None
    created_at: datetime
    updated_at: datetime


class Redemption(BaseModel):
    id: UUID
    purchase_id: UUID
    student_id: UUID
    amount: int
    currency: str
    status: Literal["reserved", "redeemed", "released"]
    created_at: datetime
    updated_at: datetime


class ReferralCode(BaseModel):
    code: str
    percent_off: int
    uses: int
    active: bool


class PriceBreakdown(BaseModel):
    """Minor units: `total` = `subtotal` - `discount`."""

    subtotal: int
    discount: int
    total: int
    currency: str


@router.get("/api/admin/promotions")
async def list_promotions(
    _: Admin,
    uow: CallerUnitOfWork,
    active: bool | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    sort: Literal["-created_at", "created_at", "code", "-code", "-uses", "uses"] = NEWEST,
) -> Page[PromotionView]:
    """All codes, including students' referral codes."""
    wanted = select(promotion_codes)
    if active is not None:
        wanted = wanted.where(promotion_codes.c.active == active)
    return await page_of(uow.db, wanted, promotion_codes, PromotionView, cursor=cursor, limit=limit, sort=sort)


@router.post("/api/admin/promotions", status_code=201, response_model=PromotionView, dependencies=IDEMPOTENT)
async def create_promotion(
    request: Request, body: NewPromotion, caller: Admin, database: CurrentDatabase
) -> JSONResponse:
    """Adds a promotion code."""

    async def act() -> PromotionView:
        async with catalog_unit_of_work(database, caller) as uow:
            await _check_items(uow.db, body.items)
            values = {"id": uuid4(), **body.model_dump(), "created_at": uow.now, "updated_at": uow.now}
            added = insert(promotion_codes).values(values).on_conflict_do_nothing().returning(promotion_codes)
            row = (await uow.db.execute(added)).one_or_none()
            if row is None:
                raise already_exists()
            created = PromotionView.model_validate(row_dict(row))
            await audit.record(uow, Act.of("promotion.created", "promotion", created.code, after=created))
            return created

    return await once(request, database, caller=str(caller.id), act=act, status=201)


@router.get("/api/admin/promotions/{code}")
async def read_promotion(code: str, _: Admin, uow: CallerUnitOfWork) -> PromotionView:
    """One promotion code, with the number of its uses."""
    return await _read(uow.db, code)


@router.patch("/api/admin/promotions/{code}")
async def change_promotion(code: str, body: PromotionChange, _: Admin, uow: CatalogUnitOfWork) -> PromotionView:
    """Changes a promotion code."""
    stored = await _read(uow.db, code, lock=True)
    sent = body.model_dump(exclude_unset=True)
    whole = _Whole.model_validate({**stored.model_dump(include=set(Terms.model_fields)), **sent})
    await _check_items(uow.db, whole.items if "items" in sent else None)
    await uow.db.execute(
        update(promotion_codes)
        .where(promotion_codes.c.id == stored.id)
        .values({**whole.model_dump(), "updated_at": uow.now})
    )
    changed = await _read(uow.db, code)
    await audit.record(uow, Act.of("promotion.changed", "promotion", changed.code, before=stored, after=changed))
    return changed


@router.get("/api/admin/promotions/{code}/redemptions")
async def list_redemptions(
    code: str, _: Admin, uow: CallerUnitOfWork, cursor: Cursor = None, limit: Limit = 50
) -> Page[Redemption]:
    """Who has used the code, for which purchase, and whether that was paid."""
    promotion = await _read(uow.db, code)
    wanted = select(redemptions).where(redemptions.c.promotion_code_id == promotion.id)
    return await page_of(uow.db, wanted, redemptions, Redemption, cursor=cursor, limit=limit)


@router.post(
    "/api/referral-code",
    status_code=201,
    response_model=ReferralCode,
    responses={200: {"model": ReferralCode, "description": "Exists already."}},
)
async def create_referral_code(request: Request, caller: Student, database: CurrentDatabase) -> JSONResponse:
    """The student's one code, which each other student can use once."""
    percent = request.app.state.settings.referral_percent
    async with database.transaction_of(student_id=caller.id, role=caller.role) as db:
        for _ in range(_TRIES):
            if (existing := await _referral_code(db, caller.id)) is not None:
                return JSONResponse(existing.model_dump(), 200)
            code = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
            added = await db.execute(
                insert(promotion_codes)
                .values(code=code, percent_off=percent, most_per_student=1, referrer_id=caller.id)
                .on_conflict_do_nothing()
            )
            if added.rowcount == 1:
                return JSONResponse(ReferralCode(code=code, percent_off=percent, uses=0, active=True).model_dump(), 201)
    raise NO_CODE_FOUND()


@router.get("/api/referral-code")
async def read_referral_code(caller: Student, uow: CallerUnitOfWork) -> ReferralCode:
    """The caller's own referral code."""
    existing = await _referral_code(uow.db, caller.id)
    if existing is None:
        raise NO_REFERRAL_CODE()
    return existing


@router.get("/api/promotions/{code}", dependencies=[LIMIT_GUESSES])
async def price_with_promotion(
    code: str,
    item: Annotated[str, Query(min_length=1, max_length=200, description="the slug")],
    caller: CurrentCaller,
    uow: CallerUnitOfWork,
    interval: Annotated[Literal["month", "year"], Query(description="of a membership")] = "month",
) -> PriceBreakdown:
    """What the item costs the caller with this code. Nothing is reserved until it is bought."""
    found = await find_item(uow.db, item)
    if found is None:
        raise UNKNOWN_ITEM("There is no such item; GET /api/catalog lists them.")
    price = found.annual if interval == "year" else found.money
    if price is None:
        raise NO_ANNUAL_PRICE()
    quoted = await quote(uow.db, found, price, code, student_id=caller.id, at=uow.now)
    return PriceBreakdown(
        subtotal=quoted.list_price.amount,
        discount=quoted.discount.amount,
        total=quoted.total.amount,
        currency=quoted.total.currency,
    )


async def _read(db: AsyncConnection, code: str, *, lock: bool = False) -> PromotionView:
    wanted = select(promotion_codes).where(promotion_codes.c.code == normalized(code))
    row = (await db.execute(wanted.with_for_update() if lock else wanted)).one_or_none()
    if row is None:
        detail = "There is no such promotion code; GET /api/admin/promotions lists them."
        raise UNKNOWN_PROMOTION(detail)
    return PromotionView.model_validate(row_dict(row))


async def _referral_code(db: AsyncConnection, student_id: UUID) -> ReferralCode | None:
    mine = select(promotion_codes).where(promotion_codes.c.referrer_id == student_id)
    row = (await db.execute(mine)).one_or_none()
    return None if row is None else ReferralCode.model_validate(row, from_attributes=True)


async def _check_items(db: AsyncConnection, slugs: tuple[str, ...] | None) -> None:
    if slugs is None:
        return
    wanted = set(slugs)
    found = await db.scalar(select(func.count()).select_from(items).where(items.c.slug.in_(wanted)))
    if found != len(wanted):
        raise InvalidItem(UNKNOWN_PART, "`items` names an unknown item; GET /api/admin/items lists them.")
