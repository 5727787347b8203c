"""Which rows a stolen password of an API shows and changes, with any settings."""

from __future__ import annotations

from uuid import UUID, uuid4

import asyncpg
import pytest
from tests.security.databases import DENIED, REQUESTS, RUNNING, Attempt, connected, rights_on_tables

from testkit.postgres_server import Database

ROLES = ("admin", "case_manager", "specialist", "student", "postgres")


async def some_rows(database: Database) -> dict[str, UUID]:
    """Two students with purchases, keys and codes. Returns their ids."""
    mine, other = uuid4(), uuid4()
    async with connected(database, "worker") as worker:
        for student in (mine, other):
            await worker.execute(
                "INSERT INTO purchases (id, student_id, program_id, program_slug, program_name, covers, amount, "
                "currency, payer, payment_type, client_secret) "
                "VALUES ($1, $1, 'p', 'p', 'P', '{p}', 100, 'usd', 'student', 'full', 'pi_secret')",
                student,
            )
            await worker.execute("INSERT INTO contacts (student_id, email, revision) VALUES ($1, 'a@b.c', 1)", student)
            await worker.execute(
                "INSERT INTO idempotency_keys (caller, key, request_hash, status, body) VALUES ($1, $2, '', 200, '{}')",
                str(student),
                f"key of {student}",
            )
            await worker.execute(
                "INSERT INTO promotion_codes (code, percent_off, referrer_id) VALUES ($1, 10, $2)",
                f"CODE{student.hex[:8].upper()}",
                student,
            )
            await worker.execute(
                "INSERT INTO payments (id, purchase_id, student_id, item_slug, item_name, item_kind, payer, amount, "
                "currency, status, refs, stripe_payment_intent_id) "
                "VALUES ($1, $1, $1, 'p', 'P', 'program', 'student', 100, 'usd', 'succeeded', ARRAY[$2], $2)",
                student,
                f"pi_{student.hex}",
            )
            await worker.execute("INSERT INTO jobs (kind, key, payload) VALUES ('refund', $1, '{}')", str(student))
            await worker.execute(
                "INSERT INTO outbox_messages (message_key, exchange, routing_key, headers, body, mandatory) "
                "VALUES ($1, 'bursar.events', 'student.updated.v1', '{}', '{}', false)",
                str(student),
            )
    return {"mine": mine, "other": other}


async def test_no_setting_widens_what_a_students_login_sees(databases: dict[str, Database]) -> None:
    database = databases["checkout"]
    students = await some_rows(database)
    mine = str(students["mine"])
    async with connected(database, "api") as api:
        tables = await rights_on_tables(api, database.api_login)
        with_students = {
            row["table_name"]
            for row in await api.fetch(
                "SELECT table_name::text FROM information_schema.columns WHERE column_name = 'student_id'"
            )
        }
        for role in ROLES:
            nobody = Attempt(api, role=role, caller="guest", idempotency_key="", promotion_code="", pay_link="")
            for table in sorted(tables.keys() & (with_students | {"idempotency_keys", "promotion_codes", "jobs"})):
                assert await nobody.rows(f"SELECT count(*) FROM {table}") == [(0,)], (role, table)
            assert await nobody.rows("SELECT count(id) FROM outbox_messages") == [(0,)]
            me = Attempt(api, role=role, student_id=mine, actor="admin")
            for table in ("purchases", "contacts", "payments"):
                assert await me.rows(f"SELECT student_id FROM {table}") == [(students["mine"],)], (role, table)
            assert await me.rows("SELECT referrer_id FROM promotion_codes") == [(students["mine"],)]
        assert await Attempt(api).error("SET row_security = off; SELECT 1") == "42601"  # one statement at a time
        await api.execute("SET row_security = off")
        assert await Attempt(api, role="admin").error("SELECT count(*) FROM purchases") == DENIED


async def test_admins_see_all_and_case_managers_their_caseload(databases: dict[str, Database]) -> None:
    database = databases["checkout"]
    students = set((await some_rows(database)).values())
    async with connected(database, "staff") as staff:
        for role, seen in (("admin", students), ("case_manager", set()), ("specialist", set()), ("student", set())):
            rows = await Attempt(staff, role=role).rows("SELECT student_id FROM purchases")
            assert {row["student_id"] for row in rows} & students == seen, role
        (mine, *_), me = students, str(uuid4())
        case_manager = Attempt(staff, role="case_manager", student_id=me, case_manager_id=me)
        assert await case_manager.rows("SELECT student_id FROM purchases") == []
        async with connected(database, "worker") as worker:
            row = "INSERT INTO caseload (student_id, case_manager_id, revision) VALUES ($1, $2, 1)"
            await worker.execute(row, mine, UUID(me))
        assert await case_manager.rows("SELECT student_id FROM purchases") == [(mine,)]
        for role in ("specialist", "student", ""):
            attempt = Attempt(staff, role=role, student_id=me, case_manager_id=me)
            assert await attempt.rows("SELECT student_id FROM purchases") == [], role
    async with connected(database, "api") as api:
        attempt = Attempt(api, role="case_manager", student_id=me, case_manager_id=me)
        assert await attempt.rows("SELECT student_id FROM purchases") == []
        assert await attempt.error("SELECT student_id FROM caseload") == DENIED


async def test_every_table_that_case_managers_read_is_held_to_their_caseload(databases: dict[str, Database]) -> None:
    """A table with students' rows that a later revision opens to case managers has to ask the caseload, too."""
    for package, database in databases.items():
        async with connected(database, "worker") as connection:
            found = await connection.fetch(
                "SELECT tablename, policyname, coalesce(qual, '') || coalesce(with_check, '') AS rows FROM pg_policies "
                "JOIN information_schema.columns ON table_name = tablename AND column_name = 'student_id' "
                "WHERE $1 = ANY (roles) AND permissive = 'PERMISSIVE'",
                database.staff_login,
            )
        for policy in found:
            rows = policy["rows"]
            is_open = "'case_manager'" in rows or "app.role" not in rows
            assert not is_open or "app.case_manager_id" in rows, (package, policy)


async def test_the_answers_to_others_stay_theirs(databases: dict[str, Database]) -> None:
    """They contain clients' secrets. Who knows the caller must also know the key, which the client chose."""
    database = databases["checkout"]
    students = await some_rows(database)
    other = str(students["other"])
    for login in REQUESTS:
        async with connected(database, login) as connection:
            for settings in (
                {"role": "admin"},
                {"caller": other},
                {"student_id": other, "caller": other, "role": "admin"},
            ):
                attempt = Attempt(connection, **settings)
                assert await attempt.rows("SELECT * FROM idempotency_keys") == [], (login, settings)
                assert await attempt.rows("DELETE FROM idempotency_keys RETURNING key") == []
                assert await attempt.rows("UPDATE idempotency_keys SET body = '{}' RETURNING key") == []


async def test_a_students_login_moves_no_money(databases: dict[str, Database]) -> None:
    database = databases["checkout"]
    students = await some_rows(database)
    mine = students["mine"]
    payment = (
        "INSERT INTO payments "
        "(purchase_id, student_id, item_slug, item_name, item_kind, payer, amount, currency, status, refs) "
        f"VALUES ('{mine}', '{{student}}', 'p', 'P', 'program', 'student', 100, 'usd', '{{status}}', '{{{{x}}}}')"
    )
    refund = (
        "INSERT INTO refunds "
        "(payment_id, purchase_id, student_id, amount, currency, reason, origin, requested_by, status) "
        f"VALUES ('{mine}', '{mine}', '{{student}}', 1, 'usd', 'r', '{{origin}}', 'me', '{{status}}')"
    )
    code = (
        "INSERT INTO promotion_codes (code, percent_off, most_per_student, referrer_id) "
        "VALUES ('MINE', {percent}, 1, '{student}')"
    )
    denied = (
        payment.format(student=mine, status="succeeded"),
        payment.format(student=students["other"], status="requires_payment"),
        f"UPDATE payments SET stripe_payment_intent_id = 'pi_other' WHERE id = '{mine}'",
        f"UPDATE payments SET amount = 1000000 WHERE id = '{mine}'",
        refund.format(student=mine, origin="admin", status="pending"),
        refund.format(student=mine, origin="student", status="succeeded"),
        refund.format(student=students["other"], origin="student", status="pending"),
        code.format(percent=100, student=mine),
        code.format(percent=10, student=students["other"]),
        "UPDATE promotion_codes SET percent_off = 100",
        "UPDATE promotion_codes SET active = true",
        "UPDATE items SET price = 1",
        "INSERT INTO items (id, slug, name, price, currency) VALUES (gen_random_uuid(), 'x', 'X', 1, 'usd')",
        "INSERT INTO bundle_items SELECT id, id, 1 FROM items",
        "INSERT INTO test_clock VALUES (true, '1 year')",
        "INSERT INTO sponsors (code, name) VALUES ('ME', 'Me')",
        "INSERT INTO sponsor_customers (code, stripe_customer_id) VALUES ('ME', 'cus_1')",
        f"INSERT INTO unmatched_payments (purchase_id, refs, payment_refs, amount, currency, code) "
        f"VALUES ('{mine}', '{{x}}', '{{}}', 1, 'usd', 'no_item')",
        f"INSERT INTO cancellations VALUES ('{mine}', '{mine}', 'r', 1, 1, 'usd', 'me')",
        "INSERT INTO manual_payments "
        "(student_id, purchase_id, method, transaction_reference, amount, currency, recorded_by) "
        f"VALUES ('{mine}', '{mine}', 'cash', '1', 1, 'usd', 'me')",
    )
    async with connected(database, "worker") as worker:
        await worker.execute(
            "INSERT INTO items (id, slug, name, price, currency) VALUES (gen_random_uuid(), $1, 'I', 100, 'usd')",
            mine.hex,
        )
        await worker.execute("INSERT INTO sponsors (code, name) VALUES ($1, 'S')", mine.hex.upper())
    async with connected(database, "api") as api:
        attempt = Attempt(api, role="admin", student_id=str(mine))
        for sql in denied:
            assert await attempt.error(sql) == DENIED, sql
        for sql in ("UPDATE test_clock SET ahead = '1 year' RETURNING id", "SELECT code FROM sponsors"):
            assert await attempt.rows(sql) == [], sql
        assert await attempt.error(refund.format(student=mine, origin="student", status="pending")) is None


async def test_nobody_changes_the_audit_trail(databases: dict[str, Database]) -> None:
    for login in RUNNING:
        async with connected(databases["checkout"], login) as connection:
            attempt = Attempt(connection, role="admin")
            for sql in (
                "UPDATE funding_payment_changes SET actor = 'nobody'",
                "DELETE FROM funding_payment_changes",
                "INSERT INTO funding_payment_changes (funding_payment_id, student_id, actor, operation) "
                "SELECT gen_random_uuid(), gen_random_uuid(), 'me', 'update'",
            ):
                assert await attempt.error(sql) == DENIED, (login, sql)


async def test_an_enrollment_is_not_opened_by_a_students_login(databases: dict[str, Database]) -> None:
    student = uuid4()
    async with connected(databases["enrollment"], "worker") as worker:
        await worker.execute(
            "INSERT INTO enrollments (id, student_id, program_slug, program_id, program_name, kind, status, "
            "payment_status, source, revision) "
            "VALUES ($1, $1, 'p', 'p', 'P', 'program', 'pending', 'pending', 'self_enroll', 1)",
            student,
        )
    for login in REQUESTS:
        async with connected(databases["enrollment"], login) as connection:
            attempt = Attempt(connection, role="admin", student_id=str(student))
            assert await attempt.error("UPDATE enrollments SET status = 'active'") == DENIED
            assert await attempt.error("UPDATE enrollments SET payment_status = 'paid'") == DENIED


@pytest.mark.parametrize(
    ("package", "sql"),
    [
        ("instructor_assignment", "UPDATE ai_instructors SET capacity = 0 RETURNING id"),
        ("instructor_assignment", "DELETE FROM ai_instructors RETURNING id"),
        ("instructor_assignment", "UPDATE ai_instructor_assignments SET status = 'released' RETURNING id"),
        ("milady_integration", "UPDATE milady_programs SET is_active = false RETURNING program_slug"),
        ("milady_integration", "SELECT program_slug FROM milady_programs"),
        ("milady_integration", "UPDATE provider_enrollments SET status = 'enrolled' RETURNING id"),
        ("notifications", "UPDATE notifications SET status = 'sent' RETURNING id"),
    ],
)
async def test_what_staff_change_is_closed_to_a_students_login(
    databases: dict[str, Database], package: str, sql: str
) -> None:
    async with connected(databases[package], "api") as api:
        for role in ROLES:
            assert await Attempt(api, role=role, student_id=str(uuid4())).rows(sql) == []


async def test_copy_obeys_the_policies(databases: dict[str, Database]) -> None:
    database = databases["checkout"]
    await some_rows(database)
    async with connected(database, "api") as api:
        copied: list[bytes] = []

        async def keep(chunk: bytes) -> None:
            copied.append(chunk)

        await api.execute("SELECT set_config('app.role', 'admin', false)")
        await api.copy_from_query("SELECT * FROM purchases", output=keep)
        assert b"".join(copied) == b""
        with pytest.raises(asyncpg.PostgresError):
            await api.copy_records_to_table("purchases", records=[(uuid4(),)], columns=["id"])
