"""A migration that has run somewhere is never edited: a change is a new revision.

The kit's tables are DDL per version (`plumbing.V1`), so they are pinned like the revisions that call them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from kit.db import ddl

ROOT = Path(__file__).resolve().parents[2]

PINNED = {
    "plumbing.V1": "db0ab70c43e3529c",
    "services/checkout/migrations/versions/0001_purchases.py": "637e0f91b3c73ec8",
    "services/checkout/migrations/versions/0002_items.py": "49c7b94c43ed6b15",
    "services/checkout/migrations/versions/0003_ways_to_pay.py": "5cfa20d49a45395d",
    "services/checkout/migrations/versions/0004_money.py": "26dfccd4227e4b7f",
    "services/checkout/migrations/versions/0005_schedules.py": "95a4ebb58fbd3982",
    "services/checkout/migrations/versions/0006_memberships.py": "83ffe521a4e1df65",
    "services/checkout/migrations/versions/0007_documents.py": "c2699e9f935d091e",
    "services/enrollment/migrations/versions/0001_enrollments.py": "ed0dade9fdf44148",
    "services/enrollment/migrations/versions/0002_progress.py": "877ddd7439b90e5e",
    "services/instructor-assignment/migrations/versions/0001_assignments.py": "6a10fb2d7ef0da5e",
    "services/milady-integration/migrations/versions/0001_places.py": "eec43f1767c2f179",
    "services/notifications/migrations/versions/0001_notifications.py": "1adb902b5bcbcbb6",
    "services/notifications/migrations/versions/0002_documents.py": "1d5bb870f60a9bf5",
    "services/webhook-gateway/migrations/versions/0001_journal.py": "ccc94858f1a09bd2",
}
"""What it is, and the beginning of its SHA-256. A new revision adds a line; a line is never changed."""


def _found() -> dict[str, str]:
    texts = {"plumbing.V1": "".join(ddl.V1).encode()}
    for path in sorted(ROOT.glob("services/*/migrations/versions/*.py")):
        texts[str(path.relative_to(ROOT))] = path.read_bytes()
    return {name: hashlib.sha256(text).hexdigest()[:16] for name, text in texts.items()}


@pytest.mark.parametrize("name", sorted(PINNED))
def test_what_has_run_somewhere_stays_as_it_is(name: str) -> None:
    assert _found().get(name) == PINNED[name], "write a new revision instead"


def test_every_revision_is_pinned() -> None:
    assert _found().keys() == PINNED.keys()
