"""The public catalog."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy import select

from checkout.catalog.dependencies import Limit
from checkout.catalog.item import Item, PaymentPlan
from checkout.catalog.repository import ON_SALE, items_of
from checkout.catalog.tables import items
from checkout.exact_json import ExactJson
from checkout.units import Price
from contracts.checkout import Project
from contracts.people import ItemKind
from kit.http.dependencies import CurrentDatabase
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(tags=["catalog"], route_class=ExactJson)


class Part(BaseModel):
    kind: ItemKind
    slug: str
    name: str
    price: Price
    amount: int = Field(description="the price in minor units")
    currency: str


class CatalogOffer(BaseModel):
    id: UUID
    kind: ItemKind
    slug: str
    name: str
    category: str | None
    price: Price = Field(description="of a membership: per month")
    amount: int = Field(description="the price in minor units")
    currency: str
    provider: str | None
    payment_plan: PaymentPlan | None
    tier: str | None = Field(description="of a membership: the access that it gives")
    monthly_price: Price | None = Field(description="of a membership")
    annual_price: Price | None = Field(description="of a membership")
    includes: list[Part] = Field(description="the parts of a bundle")
    saving: int | None = Field(description="what a bundle costs less than its parts, in minor units")
    projects: list[str] = Field(description="their titles, in order")
    first_project: Project | None


class _Id(BaseModel):
    id: UUID


@router.get("/api/catalog")
async def list_catalog(
    database: CurrentDatabase,
    kind: Annotated[ItemKind | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[CatalogOffer]:
    """What is on sale, newest first."""
    wanted = select(items.c.id, items.c.created_at).where(ON_SALE)
    if kind is not None:
        wanted = wanted.where(items.c.kind == kind)
    async with database.transaction() as db:
        page = await page_of(db, wanted, items, _Id, cursor=cursor, limit=limit)
        rows = (await db.execute(select(items).where(items.c.id.in_(found.id for found in page.items)))).all()
        by_id = {item.id: item for item in await items_of(db, rows)}
    return Page(items=[_offer(by_id[found.id]) for found in page.items if found.id in by_id], next=page.next)


def _part(item: Item) -> Part:
    return Part(
        kind=item.kind,
        slug=item.slug,
        name=item.name,
        price=item.money.to_decimal(),
        amount=item.price,
        currency=item.currency,
    )


def _offer(item: Item) -> CatalogOffer:
    membership = item.kind == "membership"
    return CatalogOffer(
        id=item.id,
        kind=item.kind,
        slug=item.slug,
        name=item.name,
        category=item.category,
        price=item.money.to_decimal(),
        amount=item.price,
        currency=item.currency,
        provider=item.provider,
        payment_plan=item.payment_plan,
        tier=item.tier,
        monthly_price=item.money.to_decimal() if membership else None,
        annual_price=item.annual.to_decimal() if item.annual else None,
        includes=[_part(part) for part in item.includes],
        saving=item.saving.amount if item.saving else None,
        projects=[project.title for project in item.projects],
        first_project=item.projects[0] if item.projects else None,
    )
