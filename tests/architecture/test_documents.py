"""The generated documents are current."""

from __future__ import annotations

from devstack.documents import ROOT, stale


def test_generated_documents_are_current() -> None:
    """When this fails: `make docs`, and read what changed."""
    assert [str(path.relative_to(ROOT)) for path in stale()] == []
