"""Money is never a float: not in the code, not on the bus, not in an answer, not in a column.

Seconds and points on a page may be: the modules that reckon with those are named here, with what they reckon.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

NO_MONEY = {
    "checkout/receipts/lettering.py": "points on a page",
    "checkout/receipts/pdf.py": "points on a page",
    "checkout/settings.py": "seconds",
    "checkout/schedules/timer.py": "seconds",
    "checkout/stripe_client/asking.py": "seconds",
    "milady_integration/breaker.py": "seconds",
    "milady_integration/main.py": "seconds",
    "milady_integration/milady_client.py": "seconds",
    "milady_integration/settings.py": "seconds",
    "milady_integration/steps.py": "seconds",
    "notifications/mailer.py": "seconds",
    "notifications/sending.py": "seconds",
    "notifications/settings.py": "seconds",
    "webhook_gateway/journal.py": "seconds",
    "webhook_gateway/relay.py": "seconds",
    "webhook_gateway/signature.py": "seconds",
}


def _modules() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for source in (*ROOT.glob("services/*/src"), ROOT / "shared/contracts/src"):
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


@pytest.mark.parametrize("name", sorted(_modules()))
def test_no_module_that_has_to_do_with_money_knows_a_float(name: str) -> None:
    found = list(_floats(ast.parse(_modules()[name].read_text())))
    if name in NO_MONEY:
        assert found, f"{name} needs no leave any more"
    else:
        assert not found


@pytest.mark.parametrize("bad", ["0.1", "float(x)", "round(x)", "price / 4", "x: float", "Column('a', sa.Float)"])
def test_the_check_sees(bad: str) -> None:
    assert list(_floats(ast.parse(bad)))


def test_no_column_is_a_float() -> None:
    for path in ROOT.glob("services/*/migrations/versions/*.py"):
        assert not re.search(r"\b(real|float\d?|double precision)\b", path.read_text().lower()), path


def _numbers(schema: Any, at: str = "") -> Iterator[str]:
    """Where a JSON document may have a number that is not whole."""
    if isinstance(schema, dict):
        if schema.get("type") == "number":
            yield at
        for name, inner in schema.items():
            yield from _numbers(inner, f"{at}/{name}")
    elif isinstance(schema, list):
        for n, inner in enumerate(schema):
            yield from _numbers(inner, f"{at}/{n}")


@pytest.mark.parametrize("path", sorted((ROOT / "shared/contracts/src/contracts/schemas").glob("*.json")), ids=str)
def test_no_event_carries_a_fraction(path: Path) -> None:
    assert not list(_numbers(json.loads(path.read_text())))


@pytest.mark.parametrize("path", sorted((ROOT / "docs/openapi").glob("*.json")), ids=lambda path: path.stem)
def test_no_answer_carries_a_fraction(path: Path) -> None:
    """A front end may send the price that it has shown as 4890.00: read as a Decimal, and only compared."""
    found = {at.split("/")[3] for at in _numbers(json.loads(path.read_text()))}
    shown = {"CheckoutRequest", "TrackPayment", "NewIntent"} if path.stem == "checkout" else set()
    assert found == shown
