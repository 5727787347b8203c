"""Figures: a number with its definition and its target, and the period that it is counted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Generic, Literal, Self, TypeVar

from fastapi import Depends, Query
from pydantic import AwareDatetime, BaseModel, Field

from kit.db.unit_of_work import utc_now
from kit.http.problems import INVALID_PERIOD

Unit = Literal["basis_points", "milliseconds", "count"]
Better = Literal["higher", "lower"]
ONE = 10_000
"""Basis points."""
DEFAULT_DAYS = 30
LONGEST = timedelta(days=5 * 366)


@dataclass(frozen=True, kw_only=True)
class Definition:
    """`target`: the setting of its target, in the same unit, if it can have one."""

    unit: Unit
    text: str
    better: Better = "higher"
    target: str | None = None


@dataclass(frozen=True, kw_only=True)
class Value:
    """A ratio in basis points with its numerator and denominator, or a plain value. None: there is nothing to count."""

    value: int | None
    numerator: int | None = None
    denominator: int | None = None

    @classmethod
    def ratio(cls, numerator: int, denominator: int) -> Value:
        value = numerator * ONE // denominator if denominator else None
        return cls(value=value, numerator=numerator, denominator=denominator)


Name = TypeVar("Name", bound=str)


class DefinedFigure(BaseModel, Generic[Name]):
    """A figure with its definition. Of a ratio, also what it was divided from."""

    name: Name
    unit: Unit
    value: int | None = Field(description="in `unit`; 10,000 basis points are all. null: there is nothing to count")
    numerator: int | None
    denominator: int | None
    better: Better
    target: int | None = Field(description="null: it has none")
    meets_target: bool | None
    definition: str

    @classmethod
    def of(cls, name: Name, counted: Value, definition: Definition, settings: object) -> Self:
        """`settings` have the attribute that the definition names as its target."""
        target = None if definition.target is None else int(getattr(settings, definition.target))
        meets = None
        if target is not None and counted.value is not None:
            meets = counted.value >= target if definition.better == "higher" else counted.value <= target
        return cls(
            name=name,
            unit=definition.unit,
            value=counted.value,
            numerator=counted.numerator,
            denominator=counted.denominator,
            better=definition.better,
            target=target,
            meets_target=meets,
            definition=definition.text,
        )


@dataclass(frozen=True, kw_only=True)
class Period:
    """Half-open: `since` <= time < `until`. Both in UTC."""

    since: datetime
    until: datetime

    @property
    def values(self) -> Mapping[str, datetime]:
        return {"since": self.since, "until": self.until}


def _period(
    since: Annotated[AwareDatetime | None, Query(description="inclusive; 30 days before `until` by default")] = None,
    until: Annotated[AwareDatetime | None, Query(description="exclusive; now by default")] = None,
) -> Period:
    try:
        end = utc_now() if until is None else until.astimezone(UTC)
        begin = end - timedelta(days=DEFAULT_DAYS) if since is None else since.astimezone(UTC)
        if timedelta(0) < end - begin <= LONGEST:
            return Period(since=begin, until=end)
    except OverflowError:
        pass
    raise INVALID_PERIOD("`since` must be before `until`, by five years at most.")


InPeriod = Annotated[Period, Depends(_period)]
"""The query parameters `since` and `until` of a route."""
