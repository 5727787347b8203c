"""One noun for each thing: docs/glossary.md lists the words that no name may contain, and what to use instead."""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from sqlalchemy import MetaData
from tests.architecture.source import CODE, ROOT, packages, python_files, relative, tree

GLOSSARY = ROOT / "docs/glossary.md"
SECTION = "## Not these words"
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

Name = tuple[str, str]
"""Where a name is defined, and the name."""


def not_these_words(page: str) -> dict[str, str]:
    """Reads the table: each word, with its plural, -> what to use instead."""
    section = page.split(SECTION, 1)[1].split("\n## ", 1)[0]
    found: dict[str, str] = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or len(cells) != 2 or set(cells[0]) <= {"-", " "} or cells[0] == "word":
            continue
        for word in cells[0].replace("`", "").split(","):
            found |= dict.fromkeys((word.strip(), f"{word.strip()}s", f"{word.strip()}es"), cells[1])
    return found


def parts(name: str) -> set[str]:
    """The words of a snake_case, camelCase or CamelCase name, in lower case."""
    return {part.lower() for part in _PARTS.findall(name)}


def python_names() -> Iterator[Name]:
    """Modules, packages, classes, functions, methods, and the annotated fields of classes."""
    for path in python_files(*CODE):
        where = relative(path)
        yield where, path.stem
        yield where, path.parent.name
        for node in _statements(tree(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{where}:{node.lineno}", node.name
            elif isinstance(node, ast.ClassDef):
                yield f"{where}:{node.lineno}", node.name
                for field in node.body:
                    if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                        yield f"{where}:{field.lineno}", field.target.id


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Every statement below, without descending into expressions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case)):
            yield child
            yield from _statements(child)


def table_names() -> Iterator[Name]:
    """Tables, columns, indexes and constraints of every service and of the kit."""
    seen: set[int] = set()
    for source in packages():
        for path in sorted(source.rglob("*.py")):
            if "Table(" not in path.read_text():
                continue
            module = importlib.import_module(".".join(path.relative_to(source).with_suffix("").parts))
            for value in vars(module).values():
                if isinstance(value, MetaData) and id(value) not in seen:
                    seen.add(id(value))
                    yield from _names_in(value, relative(path))


def _names_in(metadata: MetaData, where: str) -> Iterator[Name]:
    for table in metadata.sorted_tables:
        yield where, table.name
        yield from ((f"{where} ({table.name})", column.name) for column in table.columns)
        yield from ((f"{where} ({table.name})", str(index.name)) for index in table.indexes)


def schema_names() -> Iterator[Name]:
    """Event types and the fields of their schemas."""
    for path in sorted((ROOT / "shared/contracts/src/contracts/schemas").glob("*.json")):
        yield relative(path), path.stem
        yield from ((relative(path), name) for name in _properties(json.loads(path.read_text())))


def _properties(schema: Any) -> Iterator[str]:  # Any: JSON
    if isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            yield from properties
        for inner in schema.values():
            yield from _properties(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _properties(inner)


def offenders(names: Iterable[Name]) -> list[str]:
    words = not_these_words(GLOSSARY.read_text())
    found = []
    for where, name in names:
        for word in sorted(parts(name) & words.keys()):
            found.append(f"{where}: {name}: not {word!r}, use {words[word]}")
    return sorted(set(found))


@pytest.mark.parametrize("names", [python_names, table_names, schema_names], ids=["code", "tables", "schemas"])
def test_no_name_contains_a_word_that_the_glossary_replaces(names: Any) -> None:  # Any: one of the three generators
    found = offenders(names())
    assert not found, f"{len(found)} names:\n" + "\n".join(found)


def test_the_table_is_read() -> None:
    words = not_these_words(GLOSSARY.read_text())
    assert {"seat", "seats", "wish", "wishes", "told", "means"} <= words.keys()


@pytest.mark.parametrize(
    ("name", "word"),
    [("SeatStore", "seat"), ("known_places", "place"), ("findWay", "way"), ("HTTPEdge", "edge"), ("seats2", "seat")],
)
def test_words_are_found_in_every_kind_of_name(name: str, word: str) -> None:
    assert parts(name) & {word, f"{word}s"}


@pytest.mark.parametrize("name", ["unknown", "gateway", "placeholder", "replace", "always", "acknowledge", "doorway"])
def test_words_inside_other_words_are_not_found(name: str) -> None:
    assert not parts(name) & not_these_words(GLOSSARY.read_text()).keys()


def nouns(page: str) -> dict[str, str]:
    """Reads the tables of nouns: noun -> its name in code."""
    rows = re.findall(r"^\| \*\*(.+?)\*\* \|.*?\| `([\w.]+)` \|", page.split(SECTION, 1)[0], re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a noun is listed twice"
    return dict(rows)


def test_every_noun_exists_in_the_code() -> None:
    found = nouns(GLOSSARY.read_text())
    assert len(found) > 50
    missing = sorted(name for name in found.values() if not _resolves(name))
    assert not missing


def _resolves(name: str) -> bool:
    """Whether the dotted name is a module, or an attribute of one or of its class."""
    path = name.split(".")
    for split in range(len(path), 0, -1):
        try:
            value: object = importlib.import_module(".".join(path[:split]))
        except ModuleNotFoundError:
            continue
        for attribute in path[split:]:
            if not hasattr(value, attribute):
                return False
            value = getattr(value, attribute)
        return True
    return False


def test_no_noun_is_a_word_to_avoid() -> None:
    page = GLOSSARY.read_text()
    words = not_these_words(page)
    assert all(words.values())
    assert not {noun for noun in nouns(page) if parts(noun) & words.keys()}
