"""Forms that create and change what an API lists: fields are declared; what they mean is decided by the API, which gets
the texts that it would refuse, too. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from portal import amounts
from portal.record_list import RecordList, Row, filled, value_of

DISPLAYED = "displayed:"
"""Before the name of a hidden field: what the form displayed there."""


@dataclass(frozen=True)
class Field:
    """`name`: of the API's field; `a.b`: field `b` of `a`. `only`: for new ones, or for changes. `default`: of a new
    one. `list`: words. `projects`: a line for each title, and lines after it that begin with `-` for its steps."""

    name: str
    label: str
    kind: Literal["text", "email", "integer", "price", "choice", "yes_no", "moment", "list", "projects"] = "text"
    choices: tuple[str, ...] = ()
    required: bool = False
    help: str = ""
    only: Literal["", "new", "change"] = ""
    default: str = ""

    @property
    def options(self) -> list[tuple[str, str]]:
        if self.kind == "yes_no":
            return [("true", "yes"), ("false", "no")]
        return [(each, amounts.words(each)) for each in self.choices]

    def text(self, row: Row) -> str:
        """As the form has it."""
        value = value_of(row, self.name)
        if value is None:
            return ""
        match self.kind:
            case "yes_no":
                return "true" if value else "false"
            case "moment":
                return f"{datetime.fromisoformat(value).astimezone(UTC):%Y-%m-%dT%H:%M}"
            case "list":
                return " ".join(value)
            case "projects":
                return "\n".join(line for each in value for line in (each["title"], *(f"- {s}" for s in each["steps"])))
        return str(value)

    def value(self, text: str) -> object:
        """As the API takes it; empty is None."""
        if not text:
            return [] if self.kind == "projects" else None
        match self.kind:
            case "integer":
                return int(text) if text.isdecimal() and text.isascii() else text
            case "yes_no":
                return text == "true"
            case "moment":
                return f"{text}:00Z" if len(text) == len("2026-11-22T09:00") else text
            case "list":
                return text.replace(",", " ").split()
            case "projects":
                return _projects(text)
        return text


@dataclass(frozen=True)
class Record:
    """What a list has. `noun`: one of them; `key`: the field that its path ends with. `related`: pages about it, as
    (label, path). `removal`: what removing it is called; empty: it cannot be removed."""

    record_list: RecordList
    noun: str
    key: str
    fields: tuple[Field, ...]
    related: tuple[tuple[str, str], ...] = ()
    removal: str = ""

    @property
    def new_path(self) -> str:
        """Not below the list's, where it could be the key of one."""
        return "/admin/new/" + self.record_list.path.removeprefix("/admin/")

    def path(self, key: str) -> str:
        return filled(self.record_list.path + "/{key}", {"key": key})

    def api(self, key: str) -> str:
        return filled(self.record_list.api + "/{key}", {"key": key})

    def form(self, use: Literal["new", "change"]) -> list[Field]:
        return [each for each in self.fields if each.only in ("", use)]


def texts(fields: list[Field], form: Mapping[str, str], *, prefix: str = "") -> dict[str, str]:
    """What was sent, by field; browsers send line breaks as CR LF."""
    return {each.name: form.get(prefix + each.name, "").replace("\r\n", "\n").strip() for each in fields}


def new_body(fields: list[Field], given: Mapping[str, str]) -> dict[str, Any]:
    """Empty fields are not sent: the API has its defaults."""
    return _body([each for each in fields if given[each.name]], given)


def changed_body(fields: list[Field], given: Mapping[str, str], displayed: Mapping[str, str]) -> dict[str, Any]:
    """The fields that differ from what the form displayed, an object as a whole. (Not from what is stored now: the form
    would undo what somebody else has changed since.)"""
    differing = {_top(each.name) for each in fields if given[each.name] != displayed[each.name].strip()}
    return _body([each for each in fields if _top(each.name) in differing], given)


def _body(fields: list[Field], given: Mapping[str, str]) -> dict[str, Any]:
    body = dict[str, Any]()
    for each in fields:
        top, _, name = each.name.partition(".")
        value = each.value(given[each.name])
        if not name:
            body[top] = value
        elif value is not None:
            body[top] = {**(body.get(top) or {}), name: value}
        else:
            body.setdefault(top, None)
    return body


def _top(name: str) -> str:
    return name.partition(".")[0]


def _projects(text: str) -> list[dict[str, Any]]:
    projects: list[dict[str, Any]] = []
    for line in filter(None, map(str.strip, text.split("\n"))):
        if line.startswith("-") and projects:
            projects[-1]["steps"].append(line.removeprefix("-").strip())
        else:
            projects.append({"title": line, "steps": []})
    return projects
