"""Lists return `{"items": […], "next": cursor or null}`, newest first; some routes have `sort`. The cursor is opaque to
clients."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Final, Generic, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field
from sqlalchemy import BigInteger, FromClause, Select, literal, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import row_dict
from kit.http.problems import CURSOR_INVALID

T = TypeVar("T", bound=BaseModel)

NEWEST: Final = "-created_at"
_MOST = 2**63 - 1
"""The largest number that PostgreSQL compares with an integer column."""

Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the previous page")]


class Page(BaseModel, Generic[T]):
    items: list[T]
    next: str | None = Field(default=None, description="send it as `cursor` to get the next page; null: the last page")


async def page_of(
    db: AsyncConnection,
    query: Select[Any],
    table: FromClause,
    model: type[T],
    *,
    cursor: str | None,
    limit: int,
    sort: str = NEWEST,
) -> Page[T]:
    """One page of `query`, by the column of `table` that `sort` names (`-`: descending) and its `id`. The column is
    part of the query and has no nulls. An invalid cursor, or one of another order, is a 400 Problem."""
    column, id, descending = table.c[sort.removeprefix("-")], table.c.id, sort.startswith("-")
    if cursor is not None:
        value, last = _decode(cursor, sort, column.type.python_type)
        key, after = (
            tuple_(column, id),
            tuple_(literal(value, BigInteger() if isinstance(value, int) else column.type), last),
        )
        query = query.where(key < after if descending else key > after)
    order = (column.desc(), id.desc()) if descending else (column, id)
    rows = (await db.execute(query.order_by(*order).limit(limit + 1))).all()
    items = [model.model_validate(row_dict(row)) for row in rows[:limit]]
    more = rows[limit - 1] if len(rows) > limit else None
    return Page(items=items, next=_encode(sort, getattr(more, column.name), more.id) if more is not None else None)


def _encode(sort: str, value: object, id: UUID) -> str:
    order = "" if sort == NEWEST else f"{sort}/"
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return base64.urlsafe_b64encode(f"{order}{text}/{id}".encode()).decode().rstrip("=")


def _decode(cursor: str, sort: str, kind: type) -> tuple[datetime | int | str, UUID]:
    order = "" if sort == NEWEST else f"{sort}/"
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        if not text.startswith(order):
            raise ValueError("of another order")
        value, _, id = text.removeprefix(order).rpartition("/")
        return _parse(value, kind), UUID(id)
    except (ValueError, binascii.Error):
        raise CURSOR_INVALID() from None


def _parse(text: str, kind: type) -> datetime | int | str:
    """Raises ValueError for what the database cannot compare."""
    if kind is int:
        if abs(number := int(text)) > _MOST:
            raise ValueError("too large")
        return number
    if kind is datetime:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("no offset")
        return moment
    if "\x00" in text:
        raise ValueError("a text without an end")
    return text
