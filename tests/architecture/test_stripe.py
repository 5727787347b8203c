"""One module speaks to Stripe."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_only_checkouts_stripe_client_imports_stripe() -> None:
    found = set()
    for path in (*ROOT.glob("services/*/src/**/*.py"), *ROOT.glob("shared/*/src/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            if any(name.split(".")[0] == "stripe" for name in names):
                found.add(path.relative_to(ROOT).as_posix())
    assert {str(Path(path).parent) for path in found} == {"services/checkout/src/checkout/stripe_client"}
