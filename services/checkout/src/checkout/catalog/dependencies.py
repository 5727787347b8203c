"""What the catalog's routes share: request bodies, and units of work whose refusals are Problems."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import ColumnElement, select

from checkout.catalog import service
from checkout.catalog.problems import ALREADY_THERE
from checkout.catalog.service import InvalidItem
from checkout.catalog.tables import items
from checkout.topology import SERVICE
from checkout.units import in_minor_units
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http.auth import Caller, CurrentCaller
from kit.http.dependencies import CurrentDatabase
from kit.http.errors import invalid
from kit.http.problems import Problem

Limit = Annotated[int, Query(ge=1, le=200)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


@asynccontextmanager
async def catalog_unit_of_work(database: Database, caller: Caller) -> AsyncIterator[UnitOfWork]:
    """Commits at the end. Raises Problem for what the catalog refuses."""
    try:
        async with database.transaction_of(student_id=caller.id, role=caller.role) as db:
            yield UnitOfWork(db=db, source=SERVICE, now=utc_now())
    except InvalidItem as refused:
        raise refused.type(refused.detail) from None
    except ValidationError as error:
        raise invalid(error.errors()) from None


async def _unit_of_work(database: CurrentDatabase, caller: CurrentCaller) -> AsyncIterator[UnitOfWork]:
    async with catalog_unit_of_work(database, caller) as uow:
        yield uow


CatalogUnitOfWork = Annotated[UnitOfWork, Depends(_unit_of_work, scope="function")]
"""For routes that run once: it commits when the route returns. What an Idempotency-Key may replay opens its own."""


def already_exists() -> Problem:
    return ALREADY_THERE()


async def change_as_sent(uow: UnitOfWork, which: ColumnElement[bool], sent: Mapping[str, object]) -> bool:
    """Changes these fields of an item; prices are major units of its currency. False: no such item."""
    currency = sent.get("currency") or await uow.db.scalar(select(items.c.currency).where(which))
    if currency is None:
        return False
    return await service.change(uow, which, in_minor_units(sent, str(currency))) is not None
