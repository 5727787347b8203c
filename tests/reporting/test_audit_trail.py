"""Audit records: searched, chained, and changed by nobody."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import pytest
from tests.reporting.harness import ADMIN, Service, act
from tests.security.databases import DENIED, RUNNING, Attempt, connected

from contracts.envelope import parse
from contracts.registry import EVENT_TYPES
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from reporting import audit_trail


async def test_a_record_states_who_what_before_after_why_and_from_where(service: Service) -> None:
    purchase, student = uuid4(), uuid4()
    done = act(
        "due_date.changed",
        object_id="inst_1",
        purchase_id=purchase,
        student_id=student,
        references=("in_12345",),
        before={"due_at": "2026-12-01"},
        after={"due_at": "2026-12-15"},
        reason="asked by phone",
    )
    await service.receive(service.audited(done))
    (found,) = await service.items()
    assert found | {"id": "", "created_at": ""} == {
        "id": "",
        "position": 1,
        "service": "checkout",
        "created_at": "",
        "actor_id": str(ADMIN),
        "actor_role": "admin",
        "action": "due_date.changed",
        "object_type": "item",
        "object_id": "inst_1",
        "purchase_id": str(purchase),
        "student_id": str(student),
        "refs": ["in_12345"],
        "before": {"due_at": "2026-12-01"},
        "after": {"due_at": "2026-12-15"},
        "reason": "asked by phone",
        "address": "192.0.2.1",
        "trace_id": "a" * 32,
    }


async def test_text_that_cannot_be_stored_does_not_keep_an_act_out_of_the_trail(service: Service) -> None:
    """As another version writes it: this one replaces such text itself."""
    hostile = act().model_copy(
        update={"object_id": "evt_1\x00", "reason": "x\x00y", "before": {"a\x00": ["b\x00"]}, "references": ("\x00",)}
    )
    sent = service.audited(hostile)
    assert b"\\u0000" in sent.body()
    await service.receive(parse(sent.headers(), sent.body(), EVENT_TYPES), service.audited(act("item.created")))
    _, found = await service.items()
    assert (found["object_id"], found["reason"]) == ("evt_1\ufffd", "x\ufffdy")
    assert (found["before"], found["refs"]) == ({"a\ufffd": ["b\ufffd"]}, ["\ufffd"])
    assert (await service.get("/api/admin/audit/verify")).json()["holds"] is True
    stored = await service.as_owner(
        "SELECT data -> 'act' ->> 'reason' FROM events WHERE data -> 'act' ->> 'action' <> ''"
    )
    assert {row[0] for row in stored} == {None, "x\ufffdy"}


async def test_it_is_searched_by_purchase_student_stripe_id_actor_action_object_and_period(service: Service) -> None:
    purchase, student, actor = uuid4(), uuid4(), uuid4()
    wanted = service.audited(
        act("refund.decided", "r_1", purchase_id=purchase, student_id=student, references=("re_1234", "pi_1234")),
        actor=actor,
    )
    others = [service.audited(act(purchase_id=uuid4(), student_id=uuid4(), references=("re_5678",))) for _ in range(3)]
    await service.receive(*others[:1], wanted, *others[1:])
    by_period = {"since": wanted.time.isoformat(), "until": others[0].time.isoformat()}
    assert others[0].time > wanted.time
    for query in (
        {"purchase_id": purchase},
        {"student_id": student},
        {"stripe_id": "pi_1234"},
        {"actor_id": actor},
        {"action": "refund.decided"},
        {"object_id": "r_1"},
        by_period,
    ):
        assert [item["object_id"] for item in await service.items(**query)] == ["r_1"], query
    assert await service.items(stripe_id="pi_none") == []


async def test_pages_are_newest_first(service: Service) -> None:
    await service.receive(*(service.audited(act(object_id=str(number))) for number in range(5)))
    first = (await service.get("/api/admin/audit", limit=3)).json()
    second = (await service.get("/api/admin/audit", limit=3, cursor=first["next"])).json()
    assert [item["object_id"] for item in first["items"] + second["items"]] == ["4", "3", "2", "1", "0"]
    assert second["next"] is None


@pytest.mark.parametrize("role", ["student", "case_manager", "specialist"])
async def test_only_admins_read_it(service: Service, role: str) -> None:
    for path in ("/api/admin/audit", "/api/admin/audit/verify", f"/api/admin/purchases/{uuid4()}/timeline"):
        assert (await service.get(path, role=role)).status_code == 403


async def test_a_record_that_comes_twice_is_one(service: Service) -> None:
    record = service.audited(act())
    await service.receive(record, record)
    async with service.database.transaction() as db:
        await audit_trail.append(db, [record])  # also when its inbox row is gone
    assert len(await service.items()) == 1
    assert (await service.get("/api/admin/audit/verify")).json()["records"] == 1


async def test_concurrent_batches_make_one_chain(service: Service) -> None:
    async def one_batch(database: Database) -> None:
        records = [service.audited(act(object_id=str(number))) for number in range(10)]
        async with database.transaction() as db:
            uow = UnitOfWork(db=db, source="reporting", now=utc_now())
            await audit_trail.append(uow.db, records)

    await asyncio.gather(*(one_batch(service.database) for _ in range(5)))
    found = (await service.get("/api/admin/audit/verify")).json()
    assert (found["holds"], found["records"], found["broken"]) == (True, 50, None)


@pytest.mark.parametrize(
    ("damage", "broken", "reason"),
    [
        ("UPDATE audit_records SET reason = 'another' WHERE position = 2", 2, "its content does not match its hash"),
        (
            "UPDATE audit_records SET after = '{\"price\": 1}' WHERE position = 3",
            3,
            "its content does not match its hash",
        ),
        ("UPDATE audit_records SET created_at = now() WHERE position = 1", 1, "its content does not match its hash"),
        ("DELETE FROM audit_records WHERE position = 2", 2, "record 2 is missing"),
        ("DELETE FROM audit_records WHERE position = 1", 1, "record 1 is missing"),
        (
            "UPDATE audit_records SET hash = sha256('x') WHERE position = 4",
            4,
            "its content does not match its hash",
        ),
        (
            "UPDATE audit_records SET previous_hash = sha256('x') WHERE position = 4",
            4,
            "its previous hash is not that of the record before it",
        ),
    ],
)
async def test_the_first_broken_record_is_named(service: Service, damage: str, broken: int, reason: str) -> None:
    await service.receive(*(service.audited(act(after={"price": number})) for number in range(5)))
    before = (await service.get("/api/admin/audit/verify")).json()
    assert (before["holds"], before["records"]) == (True, 5)
    await service.as_owner(damage)
    after = (await service.get("/api/admin/audit/verify")).json()
    assert (after["holds"], after["records"], after["broken"], after["reason"]) == (False, broken - 1, broken, reason)


@pytest.mark.parametrize("login", RUNNING)
async def test_nobody_changes_or_deletes_what_is_recorded(service: Service, login: str) -> None:
    """Neither in the tables nor in their partitions, nor in one that is made later."""
    await service.receive(service.audited(act()))
    await service.as_owner(
        "ALTER TABLE events DETACH PARTITION events_default",
        "DROP TABLE events_default",
        "CREATE TABLE events_default PARTITION OF events DEFAULT",
        "SELECT maintain_event_partitions('100 years')",
    )
    tables = await service.as_owner(
        "SELECT relname::text AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relkind IN ('r', 'p') AND (relname LIKE 'events%' OR relname = 'audit_records')"
    )
    assert len(tables) >= 5
    async with connected(service.logins, login) as connection:  # type: ignore[arg-type]  # one of RUNNING
        attempt = Attempt(connection, role="admin")
        for (table,) in tables:
            column = "reason" if table == "audit_records" else "type"
            for sql in (f"UPDATE {table} SET {column} = ''", f"DELETE FROM {table}", f"TRUNCATE {table}"):
                assert await attempt.error(sql) == DENIED, sql
        if login != "worker":
            assert await attempt.error("INSERT INTO audit_records (position) VALUES (2)") == DENIED


async def test_the_worker_drops_no_month_that_is_younger_than_sixty_days(service: Service) -> None:
    await service.receive(service.audited(act()))
    async with connected(service.logins, "worker") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("SELECT maintain_events('0 days')")
        before = await connection.fetchval("SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass")
        await connection.execute("SELECT maintain_event_partitions('0 days')")
        assert before == await connection.fetchval(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass"
        )


async def test_an_admins_export_is_recorded(service: Service) -> None:
    student = uuid4()
    assert (await service.get(f"/api/admin/students/{student}/export")).status_code == 200
    (row,) = await service.as_owner(
        "SELECT convert_from(body, 'UTF8')::json -> 'act' ->> 'student_id' AS student FROM outbox_messages"
        " WHERE routing_key = 'audit.recorded.v1'"
    )
    assert row["student"] == str(student)
