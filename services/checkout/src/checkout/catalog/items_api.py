"""Admin routes for the catalog's items, and the registration of other systems' products."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator, Field, StrictBool, StrictInt
from sqlalchemy import ARRAY, Select, Text, cast, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog import service
from checkout.catalog.dependencies import (
    Body,
    CatalogUnitOfWork,
    Limit,
    already_exists,
    catalog_unit_of_work,
    change_as_sent,
)
from checkout.catalog.item import Item, PaymentPlan, Slug
from checkout.catalog.registration import Registered, register
from checkout.catalog.tables import bundle_items, items
from checkout.catalog.views import AdminItem, columns
from checkout.exact_json import ExactJson
from checkout.problems import UNKNOWN_ITEM
from checkout.units import MajorUnits, in_minor_units
from contracts.audit import Act, Action
from contracts.checkout import CatalogItemRegistered, Project
from contracts.money import Currency
from contracts.people import ItemKind
from kit.db.database import Database, row_dict
from kit.db.unit_of_work import UnitOfWork
from kit.http import audit
from kit.http.auth import Admin, CaseManager
from kit.http.dependencies import CurrentDatabase
from kit.http.idempotency import IDEMPOTENT, once
from kit.http.openapi import example
from kit.http.paging import NEWEST, Cursor, Page, page_of
from kit.http.problems import Problem

router = APIRouter(prefix="/api/admin", tags=["catalog"], route_class=ExactJson)

_PRICES = ("price", "total_cost", "annual_price", "currency")

Name = Annotated[str, Field(min_length=1, max_length=300)]
Category = Annotated[str, Field(min_length=1, max_length=100)]
Provider = Annotated[str, Field(min_length=1, max_length=100)]
Tier = Annotated[str, Field(min_length=1, max_length=50)]


class NewItem(
    Body, json_schema_extra=example(kind="course", slug="first-aid", name="First Aid", price="120.00", currency="usd")
):
    """`includes` (slugs) is for a bundle, `tier` and `annual_price` are for a membership, whose `price` is per month.
    `taught`: whether an instructor is assigned, if its kind has lessons."""

    kind: ItemKind
    slug: Slug
    external_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    name: Name
    category: Category | None = None
    owner_id: UUID | None = None
    price: MajorUnits
    currency: Currency = "usd"
    total_cost: MajorUnits | None = None
    provider: Provider | None = None
    auto_assign_payment_plan: StrictBool = True
    payment_plan: PaymentPlan | None = None
    tier: Tier | None = None
    annual_price: MajorUnits | None = None
    projects: tuple[Project, ...] = ()
    taught: StrictBool = True
    active: StrictBool = True
    includes: tuple[Slug, ...] = ()


class ItemChange(Body, json_schema_extra=example(price="135.00", active=True)):
    """Only the fields that are sent are changed; the defaults are never read. Purchases that have been started keep
    their price until their buyer requests them again."""

    name: Name = ""
    category: Category | None = None
    owner_id: UUID | None = None
    price: MajorUnits = Decimal(0)
    currency: Currency = ""
    total_cost: MajorUnits | None = None
    provider: Provider | None = None
    auto_assign_payment_plan: StrictBool = True
    payment_plan: PaymentPlan | None = None
    tier: Tier = ""
    annual_price: MajorUnits | None = None
    projects: tuple[Project, ...] = ()
    taught: StrictBool = True
    active: StrictBool = True


class Product(
    Body,
    json_schema_extra=example(
        product_type="course", product_id=17, product_name="First Aid", price="120.00", currency="usd"
    ),
):
    """Another system's product; the same `product_type` and `product_id` again is an update."""

    product_type: ItemKind
    product_id: Annotated[str, Field(min_length=1, max_length=200)] | Annotated[StrictInt, Field(ge=0, lt=10**18)]
    product_name: Name
    price: MajorUnits
    currency: Annotated[Currency, BeforeValidator(lambda sent: sent.lower() if isinstance(sent, str) else sent)]
    auto_assign_payment_plan: StrictBool = True
    category: Category | None = None
    owner_id: UUID | None = None


@router.get("/items")
async def list_items(
    database: CurrentDatabase,
    _: CaseManager,
    kind: ItemKind | None = None,
    active: bool | None = None,
    category: Annotated[str | None, Query(max_length=100)] = None,
    owner_id: UUID | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    sort: Literal["-created_at", "created_at", "name", "-name", "-price", "price"] = NEWEST,
) -> Page[AdminItem]:
    """Everything in the catalog, also what is not on sale."""
    wanted = _admin_items()
    filters = ((items.c.kind, kind), (items.c.active, active), (items.c.category, category))
    for column, value in (*filters, (items.c.owner_id, owner_id)):
        if value is not None:
            wanted = wanted.where(column == value)
    async with database.transaction() as db:
        return await page_of(db, wanted, items, AdminItem, cursor=cursor, limit=limit, sort=sort)


@router.get("/items/{slug}")
async def read_item(slug: str, _: CaseManager, database: CurrentDatabase) -> AdminItem:
    """One item of the catalog, also one that is not on sale."""
    async with database.transaction() as db:
        return await _read(db, slug)


@router.post("/items", status_code=201, response_model=AdminItem, dependencies=IDEMPOTENT)
async def create_item(request: Request, body: NewItem, caller: Admin, database: CurrentDatabase) -> JSONResponse:
    """Adds an item of any kind to the catalog."""

    async def act() -> AdminItem:
        async with catalog_unit_of_work(database, caller) as uow:
            parts = await service.parts_by_slug(uow, body.includes)
            item = Item.model_validate({"id": uuid4(), **in_minor_units(dict(body), body.currency), "includes": parts})
            if not await service.add(uow, item):
                raise already_exists()
            created = await _read(uow.db, item.slug)
            await audit.record(uow, Act.of("item.created", "item", item.slug, after=created))
            return created

    return await once(request, database, caller=str(caller.id), act=act, status=201)


@router.patch("/items/{slug}")
async def change_item(slug: str, body: ItemChange, _: Admin, uow: CatalogUnitOfWork) -> AdminItem:
    """Changes the fields that are sent. With another currency, all prices that it has have to be sent too."""
    return await _change(
        uow, "item.changed", slug, {name: value for name, value in body if name in body.model_fields_set}
    )


@router.delete("/items/{slug}")
async def deactivate_item(slug: str, _: Admin, uow: CatalogUnitOfWork) -> AdminItem:
    """Takes it off sale, with the bundles that it is a part of. A page or intent that students have not paid yet is
    closed; what was paid, and a sponsor's invoice, are not affected."""
    return await _change(uow, "item.deactivated", slug, {"active": False})


@router.post(
    "/payments/products",
    status_code=201,
    response_model=AdminItem,
    responses={200: {"model": AdminItem, "description": "Registered before: updated."}},
    dependencies=IDEMPOTENT,
)
async def register_product(request: Request, body: Product, caller: Admin, database: CurrentDatabase) -> JSONResponse:
    """Registers another system's product, or updates it (200)."""
    sent = in_minor_units(body.model_dump(exclude_unset=True), body.currency) | {"product_id": str(body.product_id)}
    event = CatalogItemRegistered.model_validate(sent)
    done: list[Registered] = []

    async def act() -> AdminItem:
        async with catalog_unit_of_work(database, caller) as uow:
            done.append(await register(uow, event, at=uow.now))
            registered = await _read(uow.db, done[-1].slug)
            await audit.record(uow, Act.of("item.registered", "item", registered.slug, after=registered))
            return registered

    # a replay answers with the status that is expected here; the first answer has the actual one
    expected = 200 if await _is_registered(database, event) else 201
    answer = await once(request, database, caller=str(caller.id), act=act, status=expected)
    if done:
        answer.status_code = 201 if done[-1].new else 200
    return answer


async def _change(uow: UnitOfWork, action: Action, slug: str, changes: Mapping[str, object]) -> AdminItem:
    if await service.lock(uow, items.c.slug == slug) is None:
        raise _unknown()
    before = await _read(uow.db, slug)
    await change_as_sent(uow, items.c.slug == slug, changes)
    after = await _read(uow.db, slug)
    if any(name in changes for name in _PRICES):
        action = "price.changed"
    await audit.record(uow, Act.of(action, "item", slug, before=before, after=after))
    return after


async def _read(db: AsyncConnection, slug: str) -> AdminItem:
    row = (await db.execute(_admin_items().where(items.c.slug == slug))).one_or_none()
    if row is None:
        raise _unknown()
    return AdminItem.model_validate(row_dict(row))


async def _is_registered(database: Database, event: CatalogItemRegistered) -> bool:
    registered = select(items.c.id).where(items.c.kind == event.product_type, items.c.external_id == event.product_id)
    async with database.transaction() as db:
        return (await db.execute(registered)).first() is not None


def _admin_items() -> Select[Any]:
    """Items with the slugs of a bundle's parts."""
    part = items.alias("part")
    slugs = (
        select(func.array_agg(aggregate_order_by(part.c.slug, bundle_items.c.position)))
        .join_from(bundle_items, part, part.c.id == bundle_items.c.item_id)
        .where(bundle_items.c.bundle_id == items.c.id)
        .correlate(items)
        .scalar_subquery()
    )
    stored = [items.c[name] for name in columns(AdminItem)]
    return select(*stored, func.coalesce(slugs, cast([], ARRAY(Text))).label("includes"))


def _unknown() -> Problem:
    return UNKNOWN_ITEM("There is no such item; GET /api/admin/items lists them.")
