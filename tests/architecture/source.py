"""The repository's source files, parsed once for all tests of this folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = ("shared", "services", "sandboxes", "devstack", "deploy", "tests")


@cache
def python_files(*folders: str) -> tuple[Path, ...]:
    """Every Python file below these folders of the repository."""
    return tuple(path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def packages() -> Iterator[Path]:
    """Every `src` folder of a service or a shared package."""
    for folder in ("shared", "services"):
        yield from sorted((ROOT / folder).glob("*/src"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
