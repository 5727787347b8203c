"""What the school sells, and who may pay for it instead of the student."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.tables import programs, sponsors
from contracts.money import Currency, Money
from contracts.people import Program
from kit.db import Database

_FILE = Path(__file__).with_name("catalog.yaml")

SLUG = r"^[a-z0-9]+(-[a-z0-9]+)*$"
CODE = r"^[A-Z0-9]+([_-][A-Z0-9]+)*$"


class CatalogProgram(BaseModel):
    """A program as the catalog knows it. Amounts are minor units; `total_cost` is what a sponsor pays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: UUID
    slug: str = Field(pattern=SLUG, max_length=100)
    name: str = Field(min_length=1, max_length=300)
    price: int = Field(ge=50)
    currency: Currency
    total_cost: int | None = Field(default=None, ge=50)
    provider: str | None = Field(default=None, max_length=100)
    active: bool = True

    @property
    def money(self) -> Money:
        return Money(amount=self.price, currency=self.currency)

    @property
    def cost(self) -> Money | None:
        return None if self.total_cost is None else Money(amount=self.total_cost, currency=self.currency)

    def as_program(self, *, id: str | None = None) -> Program:
        """As events speak of it; `id` is another system's name for it."""
        return Program(slug=self.slug, id=id or str(self.id), name=self.name, provider=self.provider)


class Sponsor(BaseModel):
    """Who pays instead of a student, and where their bills go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(pattern=CODE, max_length=50)
    name: str = Field(min_length=1, max_length=200)
    finance_email: str | None = None
    active: bool = True


class Catalog(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    programs: tuple[CatalogProgram, ...]
    sponsors: tuple[Sponsor, ...]


def checked_in() -> Catalog:
    return Catalog.model_validate(yaml.safe_load(_FILE.read_text()))


async def load(database: Database, catalog: Catalog) -> None:
    """Adds what the database does not have; what it has stays as it is."""
    async with database.transaction() as db:
        for program in catalog.programs:
            await db.execute(insert(programs).values(**program.model_dump()).on_conflict_do_nothing())
        for sponsor in catalog.sponsors:
            await db.execute(insert(sponsors).values(**sponsor.model_dump()).on_conflict_do_nothing())


async def active_programs(db: AsyncConnection) -> list[CatalogProgram]:
    rows = await db.execute(select(programs).where(programs.c.active).order_by(programs.c.created_at, programs.c.slug))
    return [program_of(row) for row in rows]


async def find_program(db: AsyncConnection, slug: str) -> CatalogProgram | None:
    """The active program with this slug."""
    row = (await db.execute(select(programs).where(programs.c.slug == slug, programs.c.active))).one_or_none()
    return None if row is None else program_of(row)


async def slug_of(db: AsyncConnection, program_id: str) -> str | None:
    """The slug of the program with this id; None for an id of another system."""
    try:
        id = UUID(program_id)
    except ValueError:
        return None
    return (await db.execute(select(programs.c.slug).where(programs.c.id == id))).scalar_one_or_none()


async def find_sponsor(db: AsyncConnection, code: str) -> Sponsor | None:
    """The active sponsor with this code, in whatever case it is written."""
    wanted = select(sponsors).where(sponsors.c.code == code.strip().upper(), sponsors.c.active)
    row = (await db.execute(wanted)).one_or_none()
    if row is None:
        return None
    return Sponsor(code=row.code, name=row.name, finance_email=row.finance_email, active=row.active)


def program_of(row: Row[Any]) -> CatalogProgram:
    return CatalogProgram(**{name: getattr(row, name) for name in CatalogProgram.model_fields})
