"""What checkout's tables have in common."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Column, ColumnElement, DateTime, Text, cast, func
from sqlalchemy.dialects.postgresql import ARRAY

from kit.db.database import new_metadata

metadata = new_metadata()


def times() -> tuple[Column[object], Column[object]]:
    return (
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )


def overlaps(column: ColumnElement[list[str]], values: Iterable[str]) -> ColumnElement[bool]:
    """Whether the text array has any of these values in it."""
    return column.op("&&", is_comparison=True)(cast(list(values), ARRAY(Text)))
