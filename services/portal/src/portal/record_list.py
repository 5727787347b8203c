"""A list of an API as a page: its columns, filters and orders are declared; one template displays all of them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal
from urllib.parse import quote, urlencode

from portal import amounts
from portal.sponsor_invoice import stage_of

Row = Mapping[str, Any]
"""An item of the list, as the API has answered it."""

MOST_CHARACTERS = 300
"""Of a filter."""


@dataclass(frozen=True)
class Column:
    """`name`: of the field; `a.b`: field `b` of `a`. An amount has its currency beside it. `link`: a path in which
    `{field}` is replaced by the row's; no link where it has none."""

    name: str
    title: str
    kind: Literal["text", "words", "amount", "number", "day", "moment", "yes_no", "stage"] = "text"
    link: str = ""

    @property
    def is_number(self) -> bool:
        return self.kind in ("amount", "number")

    def text(self, row: Row) -> str:
        value = value_of(row, self.name)
        if value is None:
            return ""
        if self.kind == "amount":
            return amounts.amount(value, value_of(row, self.currency))
        return _TEXTS[self.kind](value)

    def href(self, row: Row) -> str:
        return filled(self.link, row)

    @property
    def currency(self) -> str:
        """The name of the field beside it."""
        return ".".join([*self.name.split(".")[:-1], "currency"])


_TEXTS: Mapping[str, Callable[[Any], str]] = {  # Any: what JSON has
    "text": lambda value: ", ".join(map(str, value)) if isinstance(value, list) else str(value),
    "number": lambda value: f"{value:,}",
    "words": amounts.words,
    "day": amounts.day,
    "moment": amounts.moment,
    "yes_no": lambda value: "yes" if value else "no",
    "stage": stage_of,
}


@dataclass(frozen=True)
class Filter:
    """`name`: of the API's parameter. `choices`: the values, if there are few. A `since` or `until` is a day; both are
    included. `default`: applies until the form is sent."""

    name: str
    label: str
    kind: Literal["text", "choice", "yes_no", "since", "until"] = "text"
    choices: tuple[str, ...] = ()
    default: str = ""

    @property
    def options(self) -> list[tuple[str, str]]:
        if self.kind == "yes_no":
            return [("true", "yes"), ("false", "no")]
        return [(each, amounts.words(each)) for each in self.choices]

    def sent(self, value: str) -> str | None:
        """What the API gets. None: nothing; a day that is none is left out."""
        if self.kind in ("since", "until"):
            return start_of_day(value, after=1 if self.kind == "until" else 0)
        return value or None


@dataclass(frozen=True)
class RecordList:
    """`path`: of the page; `api` of the list in docs/openapi/bursar.json; both may have `{…}`. `exported`: fields that
    only the CSV has. `orders`: values of the API's `sort` with their labels, the default first. `others`: pages beside
    it, as (label, path). `row_forms`: the template of what can be done to a row. `file`: the CSV's name, if not the
    path's last part."""

    path: str
    title: str
    service: str
    api: str
    columns: tuple[Column, ...]
    filters: tuple[Filter, ...] = ()
    exported: tuple[str, ...] = ("id",)
    orders: tuple[tuple[str, str], ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    row_forms: str = ""
    file: str = ""
    note: str = ""
    empty: str = "There is none."

    @property
    def filename(self) -> str:
        return (self.file or self.path.split("/")[-1]) + ".csv"

    @property
    def fields(self) -> list[str]:
        """Of the CSV. Amounts are minor units of `currency`."""
        currencies = [column.currency for column in self.columns if column.kind == "amount"]
        return list(dict.fromkeys([*self.exported, *(column.name for column in self.columns), *currencies]))

    def cells(self, row: Row) -> list[object]:
        """Of the CSV."""
        values = (value_of(row, name) for name in self.fields)
        return [", ".join(map(str, value)) if isinstance(value, list) else value for value in values]

    def chosen(self, sent: Mapping[str, str]) -> dict[str, str]:
        """The value of each filter, and of `sort`. Defaults apply where nothing of the form was sent."""
        names = [each.name for each in self.filters] + (["sort"] if self.orders else [])
        if not any(name in sent for name in names):
            return {each.name: each.default for each in self.filters} | ({"sort": ""} if self.orders else {})
        return {name: sent.get(name, "").strip()[:MOST_CHARACTERS] for name in names}

    def query(self, chosen: Mapping[str, str]) -> dict[str, str | None]:
        """The API's parameters."""
        return {each.name: each.sent(chosen[each.name]) for each in self.filters} | {
            "sort": chosen.get("sort") or None,
        }


def value_of(row: Row, name: str) -> Any:
    """None if it has none, or no object that it would be in."""
    value: Any = row
    for part in name.split("."):
        value = None if value is None else value[part]
    return value


def filled(path: str, values: Row) -> str:
    """The path with the values in it, quoted. Empty if one of them is missing."""
    names = [part.split("}")[0] for part in path.split("{")[1:]]
    for name in names:
        if (value := value_of(values, name)) is None:
            return ""
        path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
    return path


def address(path: str, values: Mapping[str, str], **other: str) -> str:
    """The path with a query; empty values stay, as they say that a filter is off."""
    query = urlencode({**values, **other})
    return f"{path}?{query}" if query else path


def start_of_day(text: str, *, after: int = 0) -> str | None:
    """As the APIs take a time: of the day `after` days later, in UTC. None for what is no day."""
    try:
        return f"{date.fromisoformat(text) + timedelta(days=after)}T00:00:00Z"
    except (ValueError, OverflowError):
        return None
