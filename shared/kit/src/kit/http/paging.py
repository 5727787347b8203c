"""Lists return `{"items": […], "next": cursor or null}`, newest first. The cursor is opaque to clients."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field
from sqlalchemy import Select, Table, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import row_dict
from kit.http.problems import CURSOR_INVALID

T = TypeVar("T", bound=BaseModel)

Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the previous page")]


class Page(BaseModel, Generic[T]):
    items: list[T]
    next: str | None = Field(default=None, description="send it as `cursor` to get the next page; null: the last page")


async def page_of(
    db: AsyncConnection,
    query: Select[Any],
    table: Table,
    model: type[T],
    *,
    cursor: str | None,
    limit: int,
) -> Page[T]:
    """One page of `query`, by `created_at` and `id` of `table`, newest first. An invalid cursor is a 400 Problem."""
    if cursor is not None:
        query = query.where(tuple_(table.c.created_at, table.c.id) < tuple_(*_decode(cursor)))
    ordered = query.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit + 1)
    rows = (await db.execute(ordered)).all()
    items = [model.model_validate(row_dict(row)) for row in rows[:limit]]
    more = rows[limit - 1] if len(rows) > limit else None
    return Page(items=items, next=_encode(more.created_at, more.id) if more is not None else None)


def _encode(created_at: datetime, id: UUID) -> str:
    return base64.urlsafe_b64encode(f"{created_at.isoformat()}/{id}".encode()).decode().rstrip("=")


def _decode(cursor: str) -> tuple[datetime, UUID]:
    try:
        created_at, _, id = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition("/")
        moment = datetime.fromisoformat(created_at)
        if moment.tzinfo is None:
            raise ValueError("no offset")
        return moment, UUID(id)
    except (ValueError, binascii.Error):
        raise CURSOR_INVALID() from None
