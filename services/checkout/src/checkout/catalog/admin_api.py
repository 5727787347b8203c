"""Admin routes for programs, which are items of one kind, and for sponsors."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from checkout.catalog import service
from checkout.catalog.dependencies import Body, CatalogUnitOfWork, Limit, already_exists, catalog_unit_of_work
from checkout.catalog.item import CODE, SLUG, Item
from checkout.catalog.tables import items, sponsors
from checkout.mail import Address
from contracts.money import Currency
from kit.db.database import row_dict
from kit.http.auth import Admin, CaseManager
from kit.http.dependencies import CurrentDatabase
from kit.http.errors import Problem
from kit.http.idempotency import IDEMPOTENT, once
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(prefix="/api/admin", tags=["admin"])

Price = Annotated[int, Field(strict=True, ge=50, le=99_999_999, description="minor units")]
Name = Annotated[str, Field(min_length=1, max_length=300)]
Provider = Annotated[str, Field(min_length=1, max_length=100)]


class NewProgram(Body):
    slug: Annotated[str, Field(pattern=SLUG, max_length=100)]
    name: Name
    price: Price
    currency: Currency = "usd"
    total_cost: Price | None = None
    provider: Provider | None = None
    active: bool = True


class ProgramChange(Body):
    """Only the fields that are sent are changed; the defaults are never read. An open purchase at another price is
    closed when its buyer requests it again."""

    name: Name = ""
    price: Price = 0
    currency: Currency = ""
    total_cost: Price | None = None
    provider: Provider | None = None
    active: bool = True


class Program(NewProgram):
    id: UUID
    created_at: datetime
    updated_at: datetime


class NewSponsor(Body):
    code: Annotated[str, Field(pattern=CODE, max_length=50)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    finance_email: Address | None = None
    active: bool = True


class SponsorChange(Body):
    """Only the fields that are sent are changed; the defaults are never read."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = ""
    finance_email: Address | None = None
    active: bool = True


class Sponsor(NewSponsor):
    id: UUID
    created_at: datetime
    updated_at: datetime


@router.get("/programs")
async def list_programs(
    database: CurrentDatabase, _: CaseManager, cursor: Cursor = None, limit: Limit = 50
) -> Page[Program]:
    """All programs, also those that are not on sale."""
    async with database.transaction() as db:
        return await page_of(db, _programs(), items, Program, cursor=cursor, limit=limit)


@router.post("/programs", status_code=201, response_model=Program, dependencies=IDEMPOTENT)
async def create_program(request: Request, body: NewProgram, caller: Admin, database: CurrentDatabase) -> JSONResponse:
    async def act() -> Program:
        async with catalog_unit_of_work(database) as uow:
            item = Item(id=uuid4(), kind="program", **body.model_dump())
            if not await service.add(uow, item):
                raise already_exists()
            row = (await uow.db.execute(_programs().where(items.c.id == item.id))).one()
            return Program.model_validate(row_dict(row))

    return await once(request, database, caller=str(caller.id), act=act, status=201)


@router.patch("/programs/{slug}")
async def change_program(slug: str, body: ProgramChange, _: Admin, uow: CatalogUnitOfWork) -> Program:
    which = (items.c.slug == slug) & (items.c.kind == "program")
    if await service.change(uow, which, body.model_dump(exclude_unset=True)) is None:
        raise Problem(404, "unknown_program", "There is no such program; GET /api/admin/programs lists them.")
    row = (await uow.db.execute(_programs().where(which))).one()
    return Program.model_validate(row_dict(row))


@router.get("/sponsors")
async def list_sponsors(
    database: CurrentDatabase, _: CaseManager, cursor: Cursor = None, limit: Limit = 50
) -> Page[Sponsor]:
    async with database.transaction() as db:
        return await page_of(db, select(sponsors), sponsors, Sponsor, cursor=cursor, limit=limit)


@router.post("/sponsors", status_code=201, response_model=Sponsor, dependencies=IDEMPOTENT)
async def create_sponsor(request: Request, body: NewSponsor, caller: Admin, database: CurrentDatabase) -> JSONResponse:
    async def act() -> Sponsor:
        added = insert(sponsors).values({"id": uuid4(), **body.model_dump()}).returning(sponsors)
        try:
            async with database.transaction() as db:
                return Sponsor.model_validate(row_dict((await db.execute(added)).one()))
        except IntegrityError:
            raise already_exists() from None

    return await once(request, database, caller=str(caller.id), act=act, status=201)


@router.patch("/sponsors/{code}")
async def change_sponsor(code: str, body: SponsorChange, _: Admin, database: CurrentDatabase) -> Sponsor:
    """Changes the fields that are sent, and returns the sponsor."""
    values = {**body.model_dump(exclude_unset=True), "updated_at": func.now()}
    changed = update(sponsors).where(sponsors.c.code == code.upper()).values(values).returning(sponsors)
    async with database.transaction() as db:
        row = (await db.execute(changed)).one_or_none()
    if row is None:
        raise Problem(404, "unknown_sponsor", "There is no such sponsor; GET /api/admin/sponsors lists them.")
    return Sponsor.model_validate(row_dict(row))


def _programs() -> Select[Any]:
    return select(*(items.c[name] for name in Program.model_fields)).where(items.c.kind == "program")
