"""What checkout answers to admins: the catalog and the sponsors."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, cast
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Table, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from checkout.catalog import CODE, SLUG
from checkout.mail import Address
from checkout.tables import programs, sponsors
from contracts.money import Currency
from kit.auth import Admin, CaseManager
from kit.db import Database, row_dict
from kit.errors import Problem
from kit.idempotency import HONOURS_KEY, once
from kit.paging import Cursor, Page, page_of

router = APIRouter(prefix="/api/admin", tags=["admin"])

Price = Annotated[int, Field(strict=True, ge=50, le=99_999_999, description="minor units")]
Name = Annotated[str, Field(min_length=1, max_length=300)]
Provider = Annotated[str, Field(min_length=1, max_length=100)]
Limit = Annotated[int, Query(ge=1, le=200)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewProgram(Body):
    slug: Annotated[str, Field(pattern=SLUG, max_length=100)]
    name: Name
    price: Price
    currency: Currency = "usd"
    total_cost: Price | None = None
    provider: Provider | None = None
    active: bool = True


class ProgramChange(Body):
    """What is sent is changed, and nothing else: the defaults are never read. An open purchase at another price is
    closed as soon as its buyer asks again."""

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
    """What is sent is changed, and nothing else: the defaults are never read."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = ""
    finance_email: Address | None = None
    active: bool = True


class Sponsor(NewSponsor):
    id: UUID
    created_at: datetime
    updated_at: datetime


@router.get("/programs")
async def list_programs(request: Request, _: CaseManager, cursor: Cursor = None, limit: Limit = 50) -> Page[Program]:
    """The whole catalog, also what is not for sale (any more)."""
    async with _database(request).transaction() as db:
        return await page_of(db, select(programs), programs, Program, cursor=cursor, limit=limit)


@router.post("/programs", status_code=201, response_model=Program, dependencies=HONOURS_KEY)
async def create_program(request: Request, wanted: NewProgram, caller: Admin) -> JSONResponse:
    async def act() -> dict[str, Any]:
        return await _insert(request, programs, {"id": uuid4(), **wanted.model_dump()})

    return await once(request, _database(request), caller=str(caller.id), act=act, status=201)


@router.patch("/programs/{slug}")
async def change_program(request: Request, slug: str, wanted: ProgramChange, _: Admin) -> Program:
    changed = await _update(request, programs, programs.c.slug == slug, wanted)
    if changed is None:
        raise Problem(404, "unknown_program", "There is no such program; GET /api/admin/programs lists them.")
    return Program.model_validate(changed)


@router.get("/sponsors")
async def list_sponsors(request: Request, _: CaseManager, cursor: Cursor = None, limit: Limit = 50) -> Page[Sponsor]:
    async with _database(request).transaction() as db:
        return await page_of(db, select(sponsors), sponsors, Sponsor, cursor=cursor, limit=limit)


@router.post("/sponsors", status_code=201, response_model=Sponsor, dependencies=HONOURS_KEY)
async def create_sponsor(request: Request, wanted: NewSponsor, caller: Admin) -> JSONResponse:
    async def act() -> dict[str, Any]:
        return await _insert(request, sponsors, {"id": uuid4(), **wanted.model_dump()})

    return await once(request, _database(request), caller=str(caller.id), act=act, status=201)


@router.patch("/sponsors/{code}")
async def change_sponsor(request: Request, code: str, wanted: SponsorChange, _: Admin) -> Sponsor:
    changed = await _update(request, sponsors, sponsors.c.code == code.upper(), wanted)
    if changed is None:
        raise Problem(404, "unknown_sponsor", "There is no such sponsor; GET /api/admin/sponsors lists them.")
    return Sponsor.model_validate(changed)


async def _insert(request: Request, table: Table, values: dict[str, Any]) -> dict[str, Any]:
    try:
        async with _database(request).transaction() as db:
            return row_dict((await db.execute(insert(table).values(**values).returning(table))).one())
    except IntegrityError:
        raise Problem(409, "already_there", "There is one of this name already; change that one.") from None


async def _update(request: Request, table: Table, which: Any, wanted: Body) -> dict[str, Any] | None:
    """Changes what the body names; the row as it is then."""
    values = {**wanted.model_dump(exclude_unset=True), "updated_at": func.now()}
    async with _database(request).transaction() as db:
        row = (await db.execute(update(table).where(which).values(**values).returning(table))).one_or_none()
    return None if row is None else row_dict(row)


def _database(request: Request) -> Database:
    return cast(Database, request.app.state.database)
