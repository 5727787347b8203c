"""A migration that may have run somewhere is never edited: a change is a new revision.

The kit's tables are DDL per version (`ddl.V1`, `delivery_ddl.V2`), so they are pinned like the revisions that call
them, and so is what the functions of `row_security` return.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from kit.db import caseload_ddl, ddl, delivery_ddl, erasure_ddl, verification_ddl
from kit.db.row_security import Logins, own_rows

ROOT = Path(__file__).resolve().parents[2]

PINNED = {
    "ddl.V1": "012437d05bba8758",
    "delivery_ddl.V2": "f96d4afb79da4d98",
    "verification_ddl": "6c136d55b6ab1ff7",
    "verification_ddl.REQUESTS": "482761570acdd9ea",
    "erasure_ddl": "1df0061574799e32",
    "caseload_ddl": "0dbd16d887f46099",
    "row_security": "23c92cb935b8c3fb",
    "row_security.staff_publish": "8735aa4df95178dd",
    "services/checkout/migrations/versions/0001_initial.py": "283f57eb84a35b86",
    "services/checkout/migrations/versions/0002_money.py": "df6aaf8c0db7b2b7",
    "services/checkout/migrations/versions/0003_delivery.py": "eaf02b4b82259cde",
    "services/checkout/migrations/versions/0004_logins.py": "10242a21b6ffe56b",
    "services/checkout/migrations/versions/0005_audit.py": "31893d112005e72c",
    "services/checkout/migrations/versions/0006_verification.py": "8963455be3080265",
    "services/checkout/migrations/versions/0007_erasure.py": "c9ca1709a54954d5",
    "services/checkout/migrations/versions/0008_event_requests.py": "1ac04d2bc75d4dbc",
    "services/checkout/migrations/versions/0009_erasure_requests.py": "dbda2445eab1d9a0",
    "services/checkout/migrations/versions/0010_caseload.py": "8249d3a95b57eded",
    "services/checkout/migrations/versions/0011_checkout_sessions.py": "b2a86f1314faff79",
    "services/checkout/migrations/versions/0012_fact_customers.py": "a1b73390c91dc108",
    "services/checkout/migrations/versions/0013_sponsor_links.py": "49598c68e48e6cc3",
    "services/checkout/migrations/versions/0014_authorizations.py": "59f07807f6e62afe",
    "services/checkout/migrations/versions/0015_co_pay.py": "1cd9a5fc9ab3bd84",
    "services/checkout/migrations/versions/0016_newest_first.py": "63649ba135fb3375",
    "services/enrollment/migrations/versions/0001_initial.py": "02e65d3899307510",
    "services/enrollment/migrations/versions/0002_enrolled_at.py": "6b470079d99aa532",
    "services/enrollment/migrations/versions/0003_delivery.py": "ce26dbd51685508f",
    "services/enrollment/migrations/versions/0004_logins.py": "b063a523841b078c",
    "services/enrollment/migrations/versions/0005_audit.py": "31893d112005e72c",
    "services/enrollment/migrations/versions/0006_verification.py": "8963455be3080265",
    "services/enrollment/migrations/versions/0007_erasure.py": "8ce02f18415f834d",
    "services/enrollment/migrations/versions/0008_event_requests.py": "1ac04d2bc75d4dbc",
    "services/enrollment/migrations/versions/0009_caseload.py": "94414d6067f72076",
    "services/instructor-assignment/migrations/versions/0001_initial.py": "fb6949cd489b2ec4",
    "services/instructor-assignment/migrations/versions/0003_delivery.py": "61ca019c46c84ad4",
    "services/instructor-assignment/migrations/versions/0004_logins.py": "59a14e88f7d92ac7",
    "services/instructor-assignment/migrations/versions/0005_loads.py": "4851d60f3ac749a4",
    "services/instructor-assignment/migrations/versions/0006_audit.py": "db50a074402ab20f",
    "services/instructor-assignment/migrations/versions/0007_verification.py": "8e28b2a6b65cfef8",
    "services/instructor-assignment/migrations/versions/0008_erasure.py": "2ad421a1a92a1b42",
    "services/instructor-assignment/migrations/versions/0009_event_requests.py": "7ea6aeb2ad19a6ec",
    "services/instructor-assignment/migrations/versions/0010_caseload.py": "9799401d40fc20b3",
    "services/instructor-assignment/migrations/versions/0011_chat.py": "8a0b28a56154c80d",
    "services/milady-integration/migrations/versions/0001_initial.py": "26d6f0ab56758c01",
    "services/milady-integration/migrations/versions/0002_contacts.py": "ee9f70cc07fb78ab",
    "services/milady-integration/migrations/versions/0003_delivery.py": "ce26dbd51685508f",
    "services/milady-integration/migrations/versions/0004_logins.py": "ed58e0dc7c10f68f",
    "services/milady-integration/migrations/versions/0005_audit.py": "31893d112005e72c",
    "services/milady-integration/migrations/versions/0006_verification.py": "8963455be3080265",
    "services/milady-integration/migrations/versions/0007_erasure.py": "8ce02f18415f834d",
    "services/milady-integration/migrations/versions/0008_event_requests.py": "1ac04d2bc75d4dbc",
    "services/milady-integration/migrations/versions/0009_caseload.py": "7570a1b9e38b1804",
    "services/notifications/migrations/versions/0001_initial.py": "cc8f2d24678bc2f1",
    "services/notifications/migrations/versions/0003_delivery.py": "4117649a8c88ba00",
    "services/notifications/migrations/versions/0004_logins.py": "e744002799bbfaa8",
    "services/notifications/migrations/versions/0005_audit.py": "31893d112005e72c",
    "services/notifications/migrations/versions/0006_verification.py": "8963455be3080265",
    "services/notifications/migrations/versions/0007_erasure.py": "1acded19a37b2c8c",
    "services/notifications/migrations/versions/0008_event_requests.py": "1ac04d2bc75d4dbc",
    "services/reporting/migrations/versions/0001_initial.py": "7549b14fd30635a6",
    "services/reporting/migrations/versions/0002_links.py": "aa7fff9d27f3d2f3",
    "services/reporting/migrations/versions/0003_invariant_runs.py": "249db63727c42773",
    "services/reporting/migrations/versions/0004_erasure.py": "855ce8589a991a9c",
    "services/reporting/migrations/versions/0005_break_repairs.py": "03fb74618977319c",
    "services/reporting/migrations/versions/0006_audited_exports.py": "1849c12f867518c1",
    "services/reporting/migrations/versions/0007_figures.py": "b87ece5cd1acf0d7",
    "services/reporting/migrations/versions/0008_links_without_pending_list.py": "6292553ff7670b57",
    "services/reporting/migrations/versions/0009_events_by_ref.py": "d94083f427cef19d",
    "services/webhook-gateway/migrations/versions/0001_initial.py": "54d256920fe8a747",
    "services/webhook-gateway/migrations/versions/0002_fetches.py": "767d28eb8122b8ad",
    "services/webhook-gateway/migrations/versions/0003_journal.py": "aba8bae89e9ac22b",
    "services/webhook-gateway/migrations/versions/0004_logins.py": "4e00390e6c85e6f5",
    "services/webhook-gateway/migrations/versions/0005_reconciliation.py": "06d953b7435ab9fc",
    "services/webhook-gateway/migrations/versions/0006_objects.py": "d79a13a0dc36a529",
    "services/webhook-gateway/migrations/versions/0007_erasure.py": "e7f2cd57b369e6c4",
    "services/webhook-gateway/migrations/versions/0008_delivery_counts.py": "e1f98ab5fcab6a55",
}
"""Revision -> the first 16 hex digits of its SHA-256. A new revision adds a line; a line is never changed."""


_LOGINS = Logins(worker="w", api="a", staff="s", until="2026-11-21")


def _policies() -> list[str]:
    return [
        *own_rows("t", owner="w"),
        *_LOGINS.split_own_rows("t", staff=("admin",)),
        *_LOGINS.secure_delivery(events=("e",), jobs=("j",), staff_events=("f",), staff_jobs=("k",)),
    ]


def _found() -> dict[str, str]:
    texts = {
        "ddl.V1": "".join(ddl.V1).encode(),
        "delivery_ddl.V2": "".join(delivery_ddl.V2).encode(),
        "verification_ddl": "".join(verification_ddl.statements(_LOGINS)).encode(),
        "verification_ddl.REQUESTS": "".join(verification_ddl.REQUESTS).encode(),
        "erasure_ddl": "".join(erasure_ddl.statements(_LOGINS)).encode(),
        "caseload_ddl": "".join(caseload_ddl.statements(_LOGINS, "t")).encode(),
        "row_security": "".join(_policies()).encode(),
        "row_security.staff_publish": "".join(_LOGINS.staff_publish("p", ("e",))).encode(),
    }
    for path in sorted(ROOT.glob("services/*/migrations/versions/*.py")):
        texts[str(path.relative_to(ROOT))] = path.read_bytes()
    return {name: hashlib.sha256(text).hexdigest()[:16] for name, text in texts.items()}


@pytest.mark.parametrize("name", sorted(PINNED))
def test_a_revision_is_never_edited(name: str) -> None:
    assert _found().get(name) == PINNED[name], "write a new revision instead"


def test_every_revision_is_pinned() -> None:
    assert _found().keys() == PINNED.keys()
