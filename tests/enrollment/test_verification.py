"""`python -m enrollment verify`: a row that was changed by hand is named, and brought in line with the facts."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from tests.deliveries import deliver, envelope
from tests.enrollment.harness import PAYMENTS, TRACK, Buyer, Service
from tests.metrics import total
from tests.tokens import bearer

from contracts.audit import Actor
from contracts.people import enrollment_uuid
from enrollment.verification import comparisons
from kit.db.database import Database
from kit.messaging import verification_runs
from kit.messaging.verification import Repair, Report, verify
from kit.messaging.verification_runs import Verifier
from ledger.policy import DEFAULT_POLICY

OPERATOR = Actor(id="ada", role="operator")


async def verified(database: Database, *, repair: bool = False, again: bool = False) -> Report:
    asked = Repair(verification_id=uuid4(), actor=OPERATOR, again=again) if repair else None
    return await verify(database, comparisons(DEFAULT_POLICY), service="enrollment", repair=asked)


def found(report: Report) -> list[tuple[str, str | None, Any, Any, str]]:
    return [(each.row, each.column, each.stored, each.expected, each.outcome) for each in report.differences]


async def by_hand(database: Database, sql: str, **values: Any) -> None:
    async with database.transaction() as db:
        await db.execute(text(sql), values)


async def audited(service: Service) -> list[dict[str, Any]]:
    rows = await service.rows("SELECT body FROM outbox_messages WHERE routing_key = 'audit.recorded.v1' ORDER BY id")
    return [json.loads(row["body"])["act"] for row in rows]


@pytest.fixture
async def buyer(service: Service) -> Buyer:
    """Has paid, after another student has."""
    await service.deliver(Buyer().paid())
    buyer = Buyer()
    await service.deliver(buyer.paid())
    return buyer


@pytest.mark.usefixtures("buyer")
async def test_what_consumers_have_written_holds(service: Service) -> None:
    report = await verified(service.database)
    assert report.holds and not report.differences


async def test_a_changed_status_is_repaired_and_published(service: Service, buyer: Buyer) -> None:
    id = str(buyer.enrollment_id)
    await by_hand(service.database, "UPDATE enrollments SET status = 'withdrawn', reason = 'x' WHERE id = :id", id=id)
    named = [(id, "status", "withdrawn", "active"), (id, "reason", "x", None)]
    assert found(await verified(service.database)) == [(*each, "found") for each in named]
    assert await service.standing(buyer) == ("withdrawn", "x")  # only looked at
    repaired = await verified(service.database, repair=True)
    assert found(repaired) == [(*each, "repaired") for each in named]
    assert repaired.holds
    assert await service.standing(buyer) == ("active", None)
    assert await service.published(buyer.id) == ["1 activated", "2 activated"]
    assert [(act["action"], act["object_id"], act["before"], act["after"]) for act in await audited(service)] == [
        ("row.repaired", id, {"status": "withdrawn"}, {"status": "active"}),
        ("row.repaired", id, {"reason": "x"}, {"reason": None}),
    ]
    assert not (await verified(service.database)).differences


async def test_a_deleted_row_goes_on_from_its_last_revision(service: Service, buyer: Buyer) -> None:
    """Others ignore events of revisions that they have seen."""
    await by_hand(service.database, "DELETE FROM enrollments WHERE id = :id", id=buyer.enrollment_id)
    ((row, column, stored, expected, outcome),) = found(await verified(service.database, repair=True))
    assert (row, column, stored, outcome) == (str(buyer.enrollment_id), None, None, "repaired")
    assert expected["status"] == "active"
    assert await service.standing(buyer) == ("active", None)
    await service.deliver(buyer.refunded())
    assert await service.published(buyer.id) == ["1 activated", "2 activated", "3 withdrawn"]
    assert not (await verified(service.database)).differences


async def test_a_doubled_row_is_removed(service: Service, buyer: Buyer) -> None:
    double = uuid4()
    await by_hand(
        service.database,
        "INSERT INTO enrollments (id, student_id, program_slug, program_id, program_name, kind, status, payment_status,"
        " source, revision) SELECT :double, student_id, program_slug || '-2', program_id, program_name, kind, status,"
        " payment_status, source, revision FROM enrollments WHERE id = :id",
        double=double,
        id=buyer.enrollment_id,
    )
    ((row, column, stored, expected, outcome),) = found(await verified(service.database, repair=True))
    assert (row, column, expected, outcome) == (str(double), None, None, "repaired")
    assert stored["student_id"] == buyer.id
    assert await service.rows("SELECT id FROM enrollments WHERE id = :id", id=double) == []
    assert not (await verified(service.database)).differences


async def test_a_row_that_no_fact_names_is_left_to_people(service: Service) -> None:
    """The service may have written it: its facts may be gone."""
    student, id = uuid4(), None
    id = enrollment_uuid(student, TRACK.slug)
    await by_hand(
        service.database,
        "INSERT INTO enrollments (id, student_id, program_slug, program_id, program_name, kind, status, payment_status,"
        " source, revision) VALUES (:id, :student, :slug, 'p', 'P', 'track', 'active', 'paid', 'self_enroll', 1)",
        id=id,
        student=student,
        slug=TRACK.slug,
    )
    report = await verified(service.database, repair=True)
    assert [(each.row, each.outcome, each.reason) for each in report.differences] == [
        (str(id), "not_repairable", "no fact names this row")
    ]
    assert not report.holds


async def test_what_breaks_again_is_not_repaired_in_a_loop(service: Service, buyer: Buyer) -> None:
    async def breaks() -> None:
        pause = "UPDATE enrollments SET status = 'paused' WHERE id = :id"
        await by_hand(service.database, pause, id=buyer.enrollment_id)

    await breaks()
    assert (await verified(service.database, repair=True)).holds
    await breaks()
    report = await verified(service.database, repair=True)
    assert [each.outcome for each in report.differences] == ["repaired_before"]
    assert not report.holds
    assert await service.standing(buyer) == ("paused", None)
    assert (await verified(service.database, repair=True, again=True)).holds
    assert await service.rows("SELECT times FROM repairs") == [{"times": 2}]


async def test_a_deleted_fact_is_missed_and_accepted_again(service: Service) -> None:
    """Until it is there again, the row keeps what it has: the facts that are left do not say that anybody paid."""
    buyer = Buyer()
    paid = envelope("evt_1/payment.succeeded.v1", buyer.paid())
    await deliver(service.database, PAYMENTS, "enrollment", paid)
    await by_hand(service.database, "DELETE FROM facts WHERE event_id = :id", id=paid.id)
    row = ("enrollments", str(buyer.enrollment_id), "found")
    for repair in (True, False, True):  # it stays missing until it is there, and is asked for once
        report = await verified(service.database, repair=repair)
        assert _outcomes(report) == [("facts", paid.id, "requested"), row]
        assert not report.holds
        (requested,) = await service.rows("SELECT body FROM outbox_messages WHERE routing_key = 'events.requested.v1'")
        assert json.loads(requested["body"])["event_ids"] == [paid.id]
        assert [act["action"] for act in await audited(service)] == ["event.requested"]
        assert await service.standing(buyer) == ("active", None)
    await deliver(service.database, PAYMENTS, "enrollment", paid)
    report = await verified(service.database)
    assert _outcomes(report) == [("facts", paid.id, "repaired")]
    assert report.holds
    assert [(act["action"], act["object_id"]) for act in await audited(service)] == [
        ("event.requested", paid.id),
        ("row.repaired", paid.id),
    ]
    assert not (await verified(service.database)).differences
    assert await service.standing(buyer) == ("active", None)
    assert await service.published(buyer.id) == ["1 activated"]


async def test_a_fact_that_is_lost_again_is_asked_for_again_only_by_a_person(service: Service) -> None:
    paid = envelope("evt_1/payment.succeeded.v1", Buyer().paid())
    for _ in range(2):
        await deliver(service.database, PAYMENTS, "enrollment", paid)
        await verified(service.database)
        await by_hand(service.database, "DELETE FROM facts WHERE event_id = :id", id=paid.id)
        report = await verified(service.database, repair=True)
    assert _outcomes(report)[0] == ("facts", paid.id, "repaired_before")
    report = await verified(service.database, repair=True, again=True)
    assert _outcomes(report)[0] == ("facts", paid.id, "requested")
    requests = await service.rows("SELECT 1 FROM outbox_messages WHERE routing_key = 'events.requested.v1'")
    assert len(requests) == 2


async def test_a_deleted_key_is_added_again(service: Service, buyer: Buyer) -> None:
    """Without it, a refund would not find its payment."""
    key = f"pi_{buyer.purchase_id}"
    await by_hand(service.database, "DELETE FROM fact_keys WHERE key = :key", key=key)
    assert [(table, row) for table, row in _named(await verified(service.database, repair=True))] == [
        ("fact_keys", key)
    ]
    await service.deliver(buyer.refunded())
    assert (await service.standing(buyer))[0] == "withdrawn"


def _outcomes(report: Report) -> list[tuple[str, str, str]]:
    return [(each.table, each.row, each.outcome) for each in report.differences]


def _named(report: Report) -> list[tuple[str, str]]:
    return [(each.table, each.row) for each in report.differences]


async def test_admins_ask_for_it_and_read_what_it_has_found(service: Service, buyer: Buyer) -> None:
    admin = bearer(uuid4(), "admin")
    assert (await service.api.get("/api/admin/verification", headers=admin)).json()["code"] == "not_verified"
    await by_hand(
        service.database, "UPDATE enrollments SET payment_status = 'waived' WHERE id = :id", id=buyer.enrollment_id
    )
    for path, outcome in (("", "found"), ("/repair", "repaired")):
        asked = await service.api.post(f"/api/admin/verification{path}", headers=admin)
        assert asked.status_code == 202, asked.text
        assert asked.json()["holds"] is None
        assert await Verifier(service.database, comparisons(DEFAULT_POLICY), service="enrollment").sweep()
        read = (await service.api.get(f"/api/admin/verification/{asked.json()['id']}", headers=admin)).json()
        assert [(each["column"], each["outcome"]) for each in read["differences"]] == [("payment_status", outcome)]
        assert total("bursar_row_differences", table="enrollments") == (outcome == "found")
        assert (await service.api.get("/api/admin/verification", headers=admin)).json() == read
    actions = [act["action"] for act in await audited(service)]
    assert actions == ["verification.requested", "verification.requested", "row.repaired"]
    for role in ("student", "case_manager"):
        refused = await service.api.post("/api/admin/verification/repair", headers=bearer(uuid4(), role))
        assert refused.status_code == 403


async def test_requests_that_follow_neither_add_up_nor_lose_a_repair(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin, path = bearer(uuid4(), "admin"), "/api/admin/verification"
    monkeypatch.setattr(verification_runs, "KEPT", 1)
    (repair,) = {(await service.api.post(f"{path}/repair", headers=admin)).json()["id"] for _ in range(2)}
    (plain,) = {(await service.api.post(path, headers=admin)).json()["id"] for _ in range(3)}
    verifier = Verifier(service.database, comparisons(DEFAULT_POLICY), service="enrollment")
    assert [await verifier.sweep() for _ in range(3)] == [True, True, False]
    assert (await service.api.get(f"{path}/{plain}", headers=admin)).json()["finished_at"]
    assert (await service.api.get(f"{path}/{repair}", headers=admin)).status_code == 404, "one finished one is kept"


async def test_a_verification_is_due_once_in_its_period(service: Service) -> None:
    verifier = Verifier(service.database, comparisons(DEFAULT_POLICY), service="enrollment", every_seconds=3600)
    assert [await verifier.sweep() for _ in range(3)] == [True, False, False]
