"""Admin routes for programs, which are items of one kind, and for sponsors."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, StrictBool
from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from checkout.catalog import service
from checkout.catalog.dependencies import (
    Body,
    CatalogUnitOfWork,
    Limit,
    already_exists,
    catalog_unit_of_work,
    change_as_sent,
)
from checkout.catalog.item import CODE, Item, Slug
from checkout.catalog.tables import items, sponsors
from checkout.catalog.views import Program, columns
from checkout.exact_json import ExactJson
from checkout.mail import Address
from checkout.problems import UNKNOWN_PROGRAM, UNKNOWN_SPONSOR
from checkout.units import MajorUnits, in_minor_units
from contracts.audit import Act
from contracts.money import Currency
from kit.db.database import row_dict
from kit.http import audit
from kit.http.auth import Admin, CaseManager
from kit.http.dependencies import CallerUnitOfWork, CurrentDatabase
from kit.http.idempotency import IDEMPOTENT, once
from kit.http.openapi import example
from kit.http.paging import NEWEST, Cursor, Page, page_of

router = APIRouter(prefix="/api/admin", tags=["admin"], route_class=ExactJson)

Name = Annotated[str, Field(min_length=1, max_length=300)]
Provider = Annotated[str, Field(min_length=1, max_length=100)]


class NewProgram(Body, json_schema_extra=example(slug="welding", name="Welding", price="3200.00")):
    slug: Slug
    name: Name
    price: MajorUnits
    currency: Currency = "usd"
    total_cost: MajorUnits | None = None
    provider: Provider | None = None
    taught: StrictBool = True
    active: StrictBool = True


class ProgramChange(Body, json_schema_extra=example(price="3400.00")):
    """Only the fields that are sent are changed; the defaults are never read. An open purchase at another price is
    closed when its buyer requests it again."""

    name: Name = ""
    price: MajorUnits = Decimal(0)
    currency: Currency = ""
    total_cost: MajorUnits | None = None
    provider: Provider | None = None
    taught: StrictBool = True
    active: StrictBool = True


class NewSponsor(
    Body, json_schema_extra=example(code="WIOA", name="Workforce board", finance_email="finance@board.example.com")
):
    code: Annotated[str, Field(pattern=CODE, max_length=50)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    finance_email: Address | None = None
    active: bool = True


class SponsorChange(Body, json_schema_extra=example(finance_email="billing@board.example.com")):
    """Only the fields that are sent are changed; the defaults are never read."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = ""
    finance_email: Address | None = None
    active: bool = True


class Sponsor(BaseModel):
    id: UUID
    code: str
    name: str
    finance_email: str | None
    active: bool
    created_at: datetime
    updated_at: datetime


@router.get("/programs")
async def list_all_programs(
    database: CurrentDatabase, _: CaseManager, cursor: Cursor = None, limit: Limit = 50
) -> Page[Program]:
    """All programs, also those that are not on sale."""
    async with database.transaction() as db:
        return await page_of(db, _programs(), items, Program, cursor=cursor, limit=limit)


@router.post("/programs", status_code=201, response_model=Program, dependencies=IDEMPOTENT)
async def create_program(request: Request, body: NewProgram, caller: Admin, database: CurrentDatabase) -> JSONResponse:
    """Adds a program to the catalog."""

    async def act() -> Program:
        async with catalog_unit_of_work(database, caller) as uow:
            item = Item.model_validate({"id": uuid4(), "kind": "program", **in_minor_units(dict(body), body.currency)})
            if not await service.add(uow, item):
                raise already_exists()
            row = (await uow.db.execute(_programs().where(items.c.id == item.id))).one()
            created = Program.model_validate(row_dict(row))
            await audit.record(uow, Act.of("program.created", "program", item.slug, after=created))
            return created

    return await once(request, database, caller=str(caller.id), act=act, status=201)


@router.patch("/programs/{slug}")
async def change_program(slug: str, body: ProgramChange, _: Admin, uow: CatalogUnitOfWork) -> Program:
    """Changes the fields that are sent. With another currency, all prices that it has have to be sent too."""
    which = (items.c.slug == slug) & (items.c.kind == "program")
    before = (await uow.db.execute(_programs().where(which).with_for_update())).one_or_none()
    if before is None or not await change_as_sent(uow, which, body.model_dump(exclude_unset=True)):
        raise UNKNOWN_PROGRAM("There is no such program; GET /api/admin/programs lists them.")
    after = (await uow.db.execute(_programs().where(which))).one()
    was, changed = (Program.model_validate(row_dict(row)) for row in (before, after))
    await audit.record(uow, Act.of("program.changed", "program", slug, before=was, after=changed))
    return changed


@router.get("/sponsors")
async def list_sponsors(
    _: CaseManager,
    uow: CallerUnitOfWork,
    cursor: Cursor = None,
    limit: Limit = 50,
    sort: Literal["-created_at", "created_at", "name", "-name"] = NEWEST,
) -> Page[Sponsor]:
    """The sponsors that can fund a student."""
    return await page_of(uow.db, select(sponsors), sponsors, Sponsor, cursor=cursor, limit=limit, sort=sort)


@router.get("/sponsors/{code}")
async def read_sponsor(code: str, _: Admin, uow: CallerUnitOfWork) -> Sponsor:
    """One sponsor, by its code in any case."""
    row = (await uow.db.execute(select(sponsors).where(sponsors.c.code == code.upper()))).one_or_none()
    if row is None:
        raise UNKNOWN_SPONSOR()
    return Sponsor.model_validate(row_dict(row))


@router.post("/sponsors", status_code=201, response_model=Sponsor, dependencies=IDEMPOTENT)
async def create_sponsor(request: Request, body: NewSponsor, caller: Admin, database: CurrentDatabase) -> JSONResponse:
    """Adds a sponsor; its code is what requests name as the funding source."""

    async def act() -> Sponsor:
        added = insert(sponsors).values({"id": uuid4(), **body.model_dump()}).returning(sponsors)
        try:
            async with catalog_unit_of_work(database, caller) as uow:
                created = Sponsor.model_validate(row_dict((await uow.db.execute(added)).one()))
                await audit.record(uow, Act.of("sponsor.created", "sponsor", created.code, after=created))
                return created
        except IntegrityError:
            raise already_exists() from None

    return await once(request, database, caller=str(caller.id), act=act, status=201)


@router.patch("/sponsors/{code}")
async def change_sponsor(code: str, body: SponsorChange, _: Admin, uow: CallerUnitOfWork) -> Sponsor:
    """Changes the fields that are sent, and returns the sponsor."""
    values = {**body.model_dump(exclude_unset=True), "updated_at": func.now()}
    which = sponsors.c.code == code.upper()
    before = (await uow.db.execute(select(sponsors).where(which).with_for_update())).one_or_none()
    if before is None:
        raise UNKNOWN_SPONSOR()
    after = (await uow.db.execute(update(sponsors).where(which).values(values).returning(sponsors))).one()
    was, changed = (Sponsor.model_validate(row_dict(row)) for row in (before, after))
    await audit.record(uow, Act.of("sponsor.changed", "sponsor", changed.code, before=was, after=changed))
    return changed


def _programs() -> Select[Any]:
    return select(*(items.c[name] for name in columns(Program))).where(items.c.kind == "program")
