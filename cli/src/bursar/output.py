"""What the commands print: tables for people, or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table
from rich.text import Text

T = TypeVar("T")
LONGEST_CHANGE = 100

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Output:
    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._console = Console(soft_wrap=as_json, highlight=False)
        self._terminal = Console(stderr=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
        """`empty`: printed if there are no rows."""
        found = [[Text(printable(str(cell))) for cell in row] for row in rows]
        if not found:
            self.line(empty)
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for number, column in enumerate(columns):
            table.add_column(column, overflow="fold", no_wrap=number == 0)
        for row in found:
            table.add_row(*row)
        self._console.print(table)

    def progress(self, steps: Sequence[T], what: str) -> Iterable[T]:
        """The steps, with a bar on a terminal if there are several."""
        if len(steps) < 2:
            return steps
        return track(steps, description=what, console=self._terminal, disable=not self._terminal.is_terminal)

    @contextmanager
    def countdown(self, what: str, *, total: int) -> Iterator[Callable[[int], None]]:
        """A bar on a terminal; the function is told what is left."""
        with Progress(console=self._terminal, disable=not self._terminal.is_terminal) as progress:
            task = progress.add_task(what, total=total)
            yield lambda left: progress.update(task, completed=total - left)

    def line(self, text: str) -> None:
        self._console.print(Text(printable(text)))

    def json(self, value: Any) -> None:  # Any: JSON
        self._console.print(json.dumps(value, indent=2), markup=False)


def printable(text: str) -> str:
    """Control characters are escaped: what others have written must not control the operator's terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def change(before: Mapping[str, object] | None, after: Mapping[str, object] | None) -> str:
    """`price: 100 -> 200`, shortened."""
    old, new = before or {}, after or {}
    names = [*old, *(name for name in new if name not in old)]
    parts = [" -> ".join(str(each[name]) for each in (old, new) if name in each) for name in names]
    text = ", ".join(f"{name}: {part}" for name, part in zip(names, parts, strict=True))
    return text if len(text) <= LONGEST_CHANGE else f"{text[:LONGEST_CHANGE]}…"
