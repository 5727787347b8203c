"""problems.json is a document: a stale one keeps no service from starting."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from kit.http.declared_problems import FILE, DeclaredProblems
from kit.http.problems import FORBIDDEN


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = "package_of_the_declared_problems"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    names = [
        "kit.http.problems.FORBIDDEN",
        "kit.http.problems.RENAMED",
        "kit.http.moved.GONE",
        "kit.http.problems.Problem",
    ]
    (tmp_path / name / FILE).write_text(json.dumps({"order": names}))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_types_that_are_no_more_are_left_out(package: str) -> None:
    assert DeclaredProblems.of_package(package).of == {"order": [FORBIDDEN]}
