"""`bursar export`: what it leaves behind if it fails."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from bursar import students
from bursar.service_client import Refused, Unreachable


class Context:
    obj = None


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No service answers."""
    monkeypatch.setenv("BURSAR_TOKEN", "x")
    for service in students.SERVICES:
        monkeypatch.setenv(f"BURSAR_{service.upper()}_URL", "http://127.0.0.1:9")


def test_a_failed_export_leaves_no_file(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(Unreachable):
            students.export(Context(), uuid4(), tmp_path / "student.zip")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        students.export(Context(), uuid4(), tmp_path / "missing" / "student.zip")  # type: ignore[arg-type]
    assert refused.value.code == "not_writable"


def test_no_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "student.zip").write_text("x")
    with pytest.raises(Refused) as refused:
        students.export(Context(), uuid4(), tmp_path / "student.zip")  # type: ignore[arg-type]
    assert refused.value.code == "file_exists"
