"""How the catalog's doors work on it: one transaction, and refusals in the words of the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, cast

from fastapi import Query, Request
from pydantic import BaseModel, ConfigDict, ValidationError

from checkout.catalog.service import InvalidItem
from checkout.topology import SERVICE
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http.errors import Problem, invalid

Limit = Annotated[int, Query(ge=1, le=200)]
_STATUS = {"unknown_item": 422, "cannot_be_registered": 422}


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


@asynccontextmanager
async def catalog_unit_of_work(request: Request) -> AsyncIterator[UnitOfWork]:
    """Committed at the end. Raises Problem for what the catalog refuses."""
    try:
        async with database_of(request).transaction() as db:
            yield UnitOfWork(db=db, source=SERVICE, now=utc_now())
    except InvalidItem as invalid_item:
        raise Problem(_STATUS.get(invalid_item.code, 409), invalid_item.code, invalid_item.detail) from None
    except ValidationError as error:
        raise invalid(error.errors()) from None


def already_exists() -> Problem:
    return Problem(409, "already_there", "There is one of this name already; change that one.")


def database_of(request: Request) -> Database:
    return cast(Database, request.app.state.database)
