"""Only one package imports the Stripe SDK."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.architecture.source import packages, relative, tree


def _imports(path: Path) -> set[str]:
    """The top-level packages that a module imports."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    return names


def test_only_checkouts_stripe_client_imports_stripe() -> None:
    importing = {
        relative(path.parent)
        for source in packages()
        for path in source.rglob("*.py")
        if "stripe" in path.read_text() and "stripe" in _imports(path)
    }
    assert importing == {"services/checkout/src/checkout/stripe_client"}
