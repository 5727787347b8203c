"""What checkout answers to admins about everything that is sold, and where other systems register their products."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, BeforeValidator, Field, StrictBool, StrictInt
from sqlalchemy import ARRAY, Select, Text, cast, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog import service
from checkout.catalog.item import Amount, Item, PaymentPlan, Slug
from checkout.catalog.registration import Registered, register
from checkout.catalog.request_body import Body, Limit, already_exists, catalog_unit_of_work, database_of
from checkout.catalog.tables import bundle_items, items
from contracts.checkout import CatalogItemRegistered, Project
from contracts.money import Currency
from contracts.people import ItemKind
from kit.db.database import row_dict
from kit.http.auth import Admin, CaseManager
from kit.http.errors import Problem
from kit.http.idempotency import IDEMPOTENT, once
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(prefix="/api/admin", tags=["catalog"])

Name = Annotated[str, Field(min_length=1, max_length=300)]
Category = Annotated[str, Field(min_length=1, max_length=100)]
Provider = Annotated[str, Field(min_length=1, max_length=100)]
Tier = Annotated[str, Field(min_length=1, max_length=50)]


class NewItem(Body):
    """Amounts are minor units. `includes` (slugs) is for a bundle, `tier` and `annual_price` are for a membership,
    whose `price` is by the month."""

    kind: ItemKind
    slug: Slug
    external_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    name: Name
    category: Category | None = None
    owner_id: UUID | None = None
    price: Amount
    currency: Currency = "usd"
    total_cost: Amount | None = None
    provider: Provider | None = None
    auto_assign_payment_plan: StrictBool = True
    payment_plan: PaymentPlan | None = None
    tier: Tier | None = None
    annual_price: Amount | None = None
    projects: tuple[Project, ...] = ()
    active: StrictBool = True
    includes: tuple[Slug, ...] = ()


class ItemChange(Body):
    """What is sent is changed, and nothing else: the defaults are never read. Purchases that have begun keep their
    price until their buyer asks again."""

    name: Name = ""
    category: Category | None = None
    owner_id: UUID | None = None
    price: Amount = 0
    currency: Currency = ""
    total_cost: Amount | None = None
    provider: Provider | None = None
    auto_assign_payment_plan: StrictBool = True
    payment_plan: PaymentPlan | None = None
    tier: Tier = ""
    annual_price: Amount | None = None
    projects: tuple[Project, ...] = ()
    active: StrictBool = True


class AdminItem(NewItem):
    id: UUID
    revision: int
    created_at: datetime
    updated_at: datetime


class Product(Body):
    """Another system's product; the same `product_type` and `product_id` again is an update."""

    product_type: ItemKind
    product_id: Annotated[str, Field(min_length=1, max_length=200)] | Annotated[StrictInt, Field(ge=0, lt=10**18)]
    product_name: Name
    price: Amount
    currency: Annotated[Currency, BeforeValidator(lambda said: said.lower() if isinstance(said, str) else said)]
    auto_assign_payment_plan: StrictBool = True
    category: Category | None = None
    owner_id: UUID | None = None


@router.get("/items")
async def list_items(
    request: Request,
    _: CaseManager,
    kind: ItemKind | None = None,
    active: bool | None = None,
    category: Annotated[str | None, Query(max_length=100)] = None,
    owner_id: UUID | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[AdminItem]:
    """Everything in the catalog, also what is not for sale (any more)."""
    wanted = _shown()
    filters = ((items.c.kind, kind), (items.c.active, active), (items.c.category, category))
    for column, value in (*filters, (items.c.owner_id, owner_id)):
        if value is not None:
            wanted = wanted.where(column == value)
    async with database_of(request).transaction() as db:
        return await page_of(db, wanted, items, AdminItem, cursor=cursor, limit=limit)


@router.get("/items/{slug}")
async def read_item(request: Request, slug: str, _: CaseManager) -> AdminItem:
    async with database_of(request).transaction() as db:
        return await _read(db, slug)


@router.post("/items", status_code=201, response_model=AdminItem, dependencies=IDEMPOTENT)
async def create_item(request: Request, wanted: NewItem, caller: Admin) -> JSONResponse:
    async def act() -> AdminItem:
        async with catalog_unit_of_work(request) as uow:
            parts = await service.parts_by_slug(uow, wanted.includes)
            item = Item(id=uuid4(), includes=parts, **_fields(wanted, "includes"))
            if not await service.add(uow, item):
                raise already_exists()
            return await _read(uow.db, item.slug)

    return await once(request, database_of(request), caller=str(caller.id), act=act, status=201)


@router.patch("/items/{slug}")
async def change_item(request: Request, slug: str, wanted: ItemChange, _: Admin) -> AdminItem:
    return await _change(request, slug, {name: getattr(wanted, name) for name in wanted.model_fields_set})


@router.delete("/items/{slug}")
async def deactivate_item(request: Request, slug: str, _: Admin) -> AdminItem:
    """Nobody can buy it any more; what was bought stays."""
    return await _change(request, slug, {"active": False})


@router.post(
    "/payments/products",
    status_code=201,
    response_model=AdminItem,
    responses={200: {"model": AdminItem, "description": "Registered before: updated."}},
    dependencies=IDEMPOTENT,
)
async def register_product(request: Request, wanted: Product, caller: Admin) -> JSONResponse:
    """Registers another system's product, or updates it (200)."""
    told = wanted.model_dump(exclude_unset=True) | {"product_id": str(wanted.product_id)}
    event = CatalogItemRegistered.model_validate(told)
    done: list[Registered] = []

    async def act() -> AdminItem:
        async with catalog_unit_of_work(request) as uow:
            done.append(await register(uow, event, at=uow.now))
            return await _read(uow.db, done[-1].item.slug)

    # what is kept for a replay is what we expect here; what is answered is what has happened
    expected = 200 if await _is_registered(request, event) else 201
    answer = await once(request, database_of(request), caller=str(caller.id), act=act, status=expected)
    if done:
        answer.status_code = 201 if done[-1].new else 200
    return answer


async def _change(request: Request, slug: str, values: dict[str, Any]) -> AdminItem:
    async with catalog_unit_of_work(request) as uow:
        if await service.change(uow, items.c.slug == slug, values) is None:
            raise _unknown()
        return await _read(uow.db, slug)


async def _read(db: AsyncConnection, slug: str) -> AdminItem:
    row = (await db.execute(_shown().where(items.c.slug == slug))).one_or_none()
    if row is None:
        raise _unknown()
    return AdminItem.model_validate(row_dict(row))


async def _is_registered(request: Request, event: CatalogItemRegistered) -> bool:
    known = select(items.c.id).where(items.c.kind == event.product_type, items.c.external_id == event.product_id)
    async with database_of(request).transaction() as db:
        return (await db.execute(known)).first() is not None


def _shown() -> Select[Any]:
    """Items as admins see them: a bundle's parts by slug."""
    part = items.alias("part")
    slugs = (
        select(func.array_agg(aggregate_order_by(part.c.slug, bundle_items.c.position)))
        .join_from(bundle_items, part, part.c.id == bundle_items.c.item_id)
        .where(bundle_items.c.bundle_id == items.c.id)
        .correlate(items)
        .scalar_subquery()
    )
    columns = [items.c[name] for name in AdminItem.model_fields if name != "includes"]
    return select(*columns, func.coalesce(slugs, cast([], ARRAY(Text))).label("includes"))


def _fields(body: BaseModel, *without: str) -> dict[str, Any]:
    return {name: getattr(body, name) for name in type(body).model_fields if name not in without}


def _unknown() -> Problem:
    return Problem(404, "unknown_item", "There is no such item; GET /api/admin/items lists them.")
