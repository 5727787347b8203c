"""What checkout's tables share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Column, ColumnElement, DateTime, Row, Text, cast, func
from sqlalchemy.dialects.postgresql import ARRAY

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


def row_as(cls: type[T], row: Row[Any], **converted: object) -> T:
    """The row as a frozen dataclass, whose fields are named like the columns. `converted`: values that are not taken
    from the row as they are."""
    columns = {each.name: row._mapping[each.name] for each in fields(cls) if each.name not in converted}
    return cls(**columns, **converted)
