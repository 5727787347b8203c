"""Bar charts as SVG: where each bar is. Pure, in whole units of the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LABELS = 170
"""How wide the column of labels is."""
BARS = 360
ROW = 26
ONE = 10_000
"""Basis points."""
_LABEL = 24
"""The longest label, in characters."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """`whole` and `part`: widths, of gross and of net."""

    y: int
    label: str
    whole: int
    part: int
    gross: int
    net: int


@dataclass(frozen=True, kw_only=True)
class Chart:
    currency: str
    bars: tuple[Bar, ...]

    @property
    def height(self) -> int:
        return ROW * len(self.bars)


@dataclass(frozen=True, kw_only=True)
class RateBar:
    """`width`: of BARS, which is all."""

    y: int
    label: str
    width: int
    rate: int


@dataclass(frozen=True, kw_only=True)
class RateChart:
    """`target`: where its line is, from the left."""

    bars: tuple[RateBar, ...]
    target: int | None

    @property
    def height(self) -> int:
        return ROW * len(self.bars)


def rate_chart(rates: Sequence[tuple[str, int]], *, target: int | None) -> RateChart:
    """Of labels with their rates; rates and target in basis points."""
    bars = (
        RateBar(y=number * ROW, label=_shortened(label), width=BARS * rate // ONE, rate=rate)
        for number, (label, rate) in enumerate(rates)
    )
    return RateChart(bars=tuple(bars), target=None if target is None else LABELS + BARS * target // ONE)


def charts(lines: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """One for each currency, of RevenueLines in docs/openapi/reporting.json."""
    by_currency: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        by_currency.setdefault(line["currency"], []).append(line)
    return [Chart(currency=currency, bars=_bars(of_currency)) for currency, of_currency in by_currency.items()]


def _bars(lines: Sequence[Mapping[str, Any]]) -> tuple[Bar, ...]:
    longest = max(1, *(line["gross"] for line in lines))
    return tuple(
        Bar(
            y=number * ROW,
            label=_shortened(line["key"] or "not known"),
            whole=BARS * line["gross"] // longest,
            part=BARS * line["net"] // longest,
            gross=line["gross"],
            net=line["net"],
        )
        for number, line in enumerate(lines)
    )


def _shortened(label: str) -> str:
    return label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}…"
