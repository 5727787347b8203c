"""Every alert of the runbook has a test that provokes it; the tests that docs/faults.md names exist."""

from __future__ import annotations

import ast
import re

import pytest
from tests.architecture.source import ROOT, tree
from tests.faults.references import ALERTS, ELSEWHERE

_ALERT = re.compile(r"^\| `(bursar_[^`]+)`", re.MULTILINE)
_ALL = sorted({*ALERTS.values(), *(test for tests in ELSEWHERE.values() for test in tests)})


def test_every_alert_is_provoked() -> None:
    page = (ROOT / "docs/runbooks/alerts.md").read_text()
    assert set(_ALERT.findall(page)) == ALERTS.keys()


@pytest.mark.parametrize("name", _ALL)
def test_a_test_that_is_named_exists(name: str) -> None:
    path, _, function = name.partition("::")
    found = {node.name for node in tree(ROOT / path).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert function in found


@pytest.mark.parametrize("alert", ALERTS)
def test_the_test_of_an_alert_reads_its_metric(alert: str) -> None:
    path = ALERTS[alert].partition("::")[0]
    assert alert.partition("{")[0] in (ROOT / path).read_text()


def test_the_document_has_them() -> None:
    page = (ROOT / "docs/faults.md").read_text()
    assert not [name for name in (*_ALL, *ALERTS, *ELSEWHERE) if name not in page]
