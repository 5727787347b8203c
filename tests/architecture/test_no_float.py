"""Money is never a float: not in code, events, responses or columns.

Seconds and points on a page may be floats: the modules that contain any are listed here.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.architecture.source import ROOT, packages, tree

from checkout.units import is_major

ALLOWED = {
    "checkout/installments/timer.py": "seconds",
    "checkout/purchases/lost_events.py": "seconds",
    "checkout/receipts/pdf.py": "points on a page",
    "checkout/settings.py": "seconds",
    "checkout/stripe_client/request.py": "seconds",
    "instructor_assignment/answer.py": "seconds",
    "instructor_assignment/completions.py": "seconds",
    "instructor_assignment/settings.py": "seconds",
    "instructor_assignment/tutor.py": "how well a text matches",
    "milady_integration/jobs.py": "seconds",
    "milady_integration/milady_client.py": "seconds",
    "milady_integration/settings.py": "seconds",
    "notifications/delivery.py": "seconds",
    "notifications/mailer.py": "seconds",
    "notifications/settings.py": "seconds",
    "portal/service_client.py": "seconds",
    "portal/settings.py": "the contrast of a color",
    "portal/sign_in.py": "seconds",
    "webhook_gateway/due.py": "seconds",
    "webhook_gateway/fetcher.py": "seconds",
    "webhook_gateway/journal.py": "seconds",
    "webhook_gateway/object_comparison.py": "seconds",
    "webhook_gateway/object_reconciler.py": "seconds",
    "webhook_gateway/reconciler.py": "seconds",
    "webhook_gateway/relay.py": "seconds",
    "webhook_gateway/settings.py": "seconds",
    "webhook_gateway/signature.py": "seconds",
    "webhook_gateway/spill.py": "seconds",
    "webhook_gateway/webhook.py": "seconds",
}


def _modules() -> dict[str, Path]:
    """The modules of all services, of the contracts and of the ledger."""
    found: dict[str, Path] = {}
    for source in packages():
        if source.parent.name not in ("kit", "testkit"):
            found |= {path.relative_to(source).as_posix(): path for path in source.rglob("*.py")}
    return found


def _floats(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield f"line {line}: {node.value}"
        elif isinstance(node, ast.Name) and node.id == "float":
            yield f"line {line}: float"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "round":
            yield f"line {line}: round"
        elif isinstance(node, ast.Attribute) and node.attr in ("Float", "REAL", "DOUBLE_PRECISION"):
            yield f"line {line}: {node.attr}"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and not _of_paths(node):
            yield f"line {line}: {ast.unparse(node)}"


def _of_paths(node: ast.BinOp) -> bool:
    return any(
        isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in (node.left, node.right)
    )


def test_no_module_computes_money_in_floats() -> None:
    found = {name: floats for name, path in _modules().items() if (floats := list(_floats(tree(path))))}
    unexpected = {name: floats for name, floats in found.items() if name not in ALLOWED}
    assert not unexpected
    assert not ALLOWED.keys() - found.keys(), "these need no exception"


@pytest.mark.parametrize("bad", ["0.1", "float(x)", "round(x)", "price / 4", "x: float", "Column('a', sa.Float)"])
def test_the_check_finds(bad: str) -> None:
    assert list(_floats(ast.parse(bad)))


def test_no_column_is_a_float() -> None:
    for path in ROOT.glob("services/*/migrations/versions/*.py"):
        assert not re.search(r"\b(real|float\d?|double precision)\b", path.read_text().lower()), path


def _numbers(schema: Any, at: str = "") -> Iterator[str]:
    """The paths of a JSON schema where a number may have a fraction."""
    if isinstance(schema, dict):
        if schema.get("type") == "number":
            yield at
        for name, inner in schema.items():
            yield from _numbers(inner, f"{at}/{name}")
    elif isinstance(schema, list):
        for n, inner in enumerate(schema):
            yield from _numbers(inner, f"{at}/{n}")


def test_no_event_has_a_fraction() -> None:
    schemas = sorted((ROOT / "shared/contracts/src/contracts/schemas").glob("*.json"))
    assert len(schemas) > 25
    found = {path.stem: numbers for path in schemas if (numbers := list(_numbers(json.loads(path.read_text()))))}
    assert not found


@pytest.mark.parametrize("path", sorted((ROOT / "docs/openapi").glob("*.json")), ids=lambda path: path.stem)
def test_no_response_has_a_fraction(path: Path) -> None:
    """Except prices, which are read as Decimals and written with exactly the currency's decimals."""
    found = {at.split("/")[5] for at in _numbers(json.loads(path.read_text()))}
    assert all(map(is_major, found))
    assert bool(found) == (path.stem in ("checkout", "bursar"))
