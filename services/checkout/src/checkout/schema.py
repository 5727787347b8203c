"""What checkout's tables share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from sqlalchemy import Column, ColumnElement, DateTime, Row, Table, Text, Uuid, bindparam, cast, func, insert, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import new_metadata

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

metadata = new_metadata()


def times() -> tuple[Column[object], Column[object]]:
    return (
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


def overlaps(column: ColumnElement[list[str]], values: Iterable[str]) -> ColumnElement[bool]:
    """Whether the text array contains any of these values."""
    return column.op("&&", is_comparison=True)(cast(list(values), ARRAY(Text)))


def one_of(column: ColumnElement[Any], ids: Iterable[UUID]) -> ColumnElement[bool]:
    """Whether the column is one of these ids: one parameter, so the statement is the same for any number."""
    return column == func.any(cast(list(ids), ARRAY(Uuid)))


async def insert_rows(db: AsyncConnection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """In one round trip. All rows have the same columns."""
    if rows:
        await db.execute(insert(table), list(rows))


async def update_rows(db: AsyncConnection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """In one round trip, by `id`. All rows have the same columns."""
    if rows:
        names = [name for name in rows[0] if name != "id"]
        statement = update(table).where(table.c.id == bindparam("row_id"))
        statement = statement.values({name: bindparam(f"new_{name}") for name in names})
        await db.execute(statement, [{"row_id": row["id"], **{f"new_{n}": row[n] for n in names}} for row in rows])


def row_as(cls: type[T], row: Row[Any], **converted: object) -> T:
    """The row as a frozen dataclass, whose fields are named like the columns. `converted`: values that are not taken
    from the row as they are."""
    columns = {each.name: row._mapping[each.name] for each in fields(cls) if each.name not in converted}
    return cls(**columns, **converted)
