"""What is counted of Stripe's deliveries, by day (UTC). The journal's functions count; this reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from sqlalchemy import BigInteger, Column, ColumnElement, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.http.figures import Definition, Value
from webhook_gateway.tables import delivery_counts

DeliveryFigureName = Literal["webhook_delivery_rate", "webhook_redelivery_rate", "duplicates_absorbed"]

_DUPLICATES = (
    "deliveries of an event that was received before, by a delivery or because it was fetched; it changes nothing. One"
    " that is refused because its content differs is counted, too"
)
DEFINITIONS: Mapping[DeliveryFigureName, Definition] = {
    "webhook_delivery_rate": Definition(
        unit="basis_points",
        text="events that Stripe delivered / these and those that had to be fetched from Stripe, because no delivery"
        " had come; by the day (UTC) on which an event was received first",
        target="target_webhook_delivery",
    ),
    "webhook_redelivery_rate": Definition(
        unit="basis_points",
        text="duplicates absorbed / deliveries with a valid signature; Stripe repeats a delivery that was not answered"
        " in time, and sometimes one that was",
        better="lower",
    ),
    "duplicates_absorbed": Definition(unit="count", text=_DUPLICATES, better="lower"),
}


@dataclass(frozen=True, kw_only=True)
class DeliveryCounts:
    """`delivered` and `fetched`: events, by how they came first. `duplicates`: deliveries of one that was there."""

    delivered: int = 0
    fetched: int = 0
    duplicates: int = 0

    def __add__(self, other: DeliveryCounts) -> DeliveryCounts:
        return DeliveryCounts(
            delivered=self.delivered + other.delivered,
            fetched=self.fetched + other.fetched,
            duplicates=self.duplicates + other.duplicates,
        )

    @property
    def delivery_rate(self) -> Value:
        return Value.ratio(self.delivered, self.delivered + self.fetched)

    @property
    def figures(self) -> Mapping[DeliveryFigureName, Value]:
        return {
            "webhook_delivery_rate": self.delivery_rate,
            "webhook_redelivery_rate": Value.ratio(self.duplicates, self.delivered + self.duplicates),
            "duplicates_absorbed": Value(value=self.duplicates),
        }


async def by_day(db: AsyncConnection, *, first: date, last: date) -> Sequence[tuple[date, DeliveryCounts]]:
    """The days from `first` to `last` on which something was received."""
    counted = delivery_counts.c
    statement = (
        select(
            counted.day,
            _sum(counted.delivered).label("delivered"),
            _sum(counted.fetched).label("fetched"),
            _sum(counted.duplicates).label("duplicates"),
        )
        .where(counted.day.between(first, last))
        .group_by(counted.day)
        .order_by(counted.day)
    )
    return [
        (row.day, DeliveryCounts(delivered=row.delivered, fetched=row.fetched, duplicates=row.duplicates))
        for row in await db.execute(statement)
    ]


def _sum(column: Column[int]) -> ColumnElement[int]:
    return cast(func.sum(column), BigInteger)
