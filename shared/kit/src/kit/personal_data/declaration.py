"""What a service stores about people, declared: read by the export and by the erasure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts import personal_data

Json = Any  # what json.loads returns
Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""table -> rows by column"""


@dataclass(frozen=True, kw_only=True)
class PersonalTable:
    """A table with rows about a person. `person`: the column with the person's id.

    emptied: column -> the value or SQL expression that replaces its values at the erasure
    deleted: the rows are deleted. With neither, they name the person by the id only, and stay as they are.
    exported: False for rows that another table of the export has already
    """

    table: Table
    person: str = "student_id"
    emptied: Mapping[str, Any] = field(default_factory=dict)
    deleted: bool = False
    exported: bool = True


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person to erase. `identifiers`: the id, and whatever else events name that is theirs alone. Raises ValueError
    for one that is no identifier: texts are searched for it, so that it would erase others, too."""

    id: UUID
    identifiers: frozenset[str]

    def __post_init__(self) -> None:
        if not all(personal_data.is_identifier(each) for each in self.identifiers):
            raise ValueError("a person's identifiers are UUIDs and ids of Stripe's form")


Erase = Callable[[AsyncConnection, Person], Awaitable[Mapping[str, int]]]
"""Erases what is not in rows with the person's id. Returns how many rows it has changed, by table. It is repeated."""
Export = Callable[[AsyncConnection, UUID], Awaitable[Rows]]


async def _nothing_erased(db: AsyncConnection, person: Person) -> Mapping[str, int]:
    return {}


async def _nothing_exported(db: AsyncConnection, person_id: UUID) -> Rows:
    return {}


@dataclass(frozen=True, kw_only=True)
class PersonalData:
    """`message`: the body of a message without personal data, by the type of its event ("" if it is none)."""

    tables: Sequence[PersonalTable] = ()
    erase: Erase = _nothing_erased
    export: Export = _nothing_exported
    message: Callable[[str, Json], Json] = personal_data.erased


def patterns(identifiers: Collection[str]) -> list[str]:
    """For LIKE: texts that contain one of them."""
    escaped = (each.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for each in sorted(identifiers))
    return [f"%{each}%" for each in escaped]
