"""What a stolen database password is worth: each login of each service is tried against the real migrations."""

from __future__ import annotations

import json
from collections.abc import Iterable
from uuid import uuid4

import asyncpg
import pytest
from tests.security.databases import (
    DENIED,
    LOGINS,
    PACKAGES,
    REQUESTS,
    RUNNING,
    TABLES,
    Attempt,
    Login,
    connected,
    rights_on_tables,
    url_of,
)

from checkout import main as checkout
from contracts.registry import EVENT_TYPES
from testkit.postgres_server import Database

AUDIT = "audit.recorded.v1"

# (service, login) -> what it may publish, and which jobs it may enqueue. Staff may also do what students may.
PUBLISHES: dict[tuple[str, Login], set[str]] = {
    ("checkout", "api"): {
        "purchase.created.v1",
        "purchase.ended.v1",
        "student.updated.v1",
        "refund.requested.v1",
        "stripe_events.requested.v1",
    },
    ("checkout", "staff"): {
        AUDIT,
        "payment.succeeded.v1",
        "payment.refunded.v1",
        "payment.failed.v1",
        "payment.expired.v1",
        "purchase.accepted.v1",
        "purchase.recorded.v1",
        "refund.decided.v1",
        "catalog.item_changed.v1",
        "collection.stopped.v1",
        "student.case_manager_changed.v1",
        "student.erasure_requested.v1",
    },
    ("enrollment", "api"): {"enrollment.progressed.v1", "enrollment.completed.v1"},
    ("enrollment", "staff"): {AUDIT},
    ("instructor_assignment", "staff"): {
        AUDIT,
        "instructor.assigned.v1",
        "instructor.released.v1",
        "instructor.unavailable.v1",
    },
    ("milady_integration", "staff"): {AUDIT, "milady.enrolled.v1", "milady.withdrawn.v1", "milady.failed.v1"},
    ("notifications", "staff"): {AUDIT},
    ("reporting", "staff"): {AUDIT},
}
ENQUEUES: dict[tuple[str, Login], set[str]] = {
    ("checkout", "api"): {
        "free_payment",
        "intent_expiry",
        "membership_sync",
        "page_expiry",
        "refund",
        "subscription_cancel",
    },
    ("checkout", "staff"): {"off_sale", "installment_close", "installment_debit_result", "unmatched_refund"},
    ("milady_integration", "staff"): {"milady.enroll", "milady.withdraw", "milady.adopt"},
    ("notifications", "staff"): {"notification"},
}
# Functions that requests call. (Trigger functions cannot be called.)
CALLABLE: dict[tuple[str, Login], set[str]] = {
    ("webhook_gateway", "api"): {"journal_write_deliveries"},
    ("reporting", "staff"): {"events_by_ref"},
}

INTO_OUTBOX = """
    INSERT INTO outbox_messages (message_key, exchange, routing_key, headers, body, mandatory)
    VALUES ($1, $2, $3, $4, '{}', false)
"""
INTO_JOBS = "INSERT INTO jobs (kind, key, payload) VALUES ($1, $2, '{}')"


def allowed(what: dict[tuple[str, Login], set[str]], package: str, login: Login) -> set[str]:
    own = what.get((package, login), set())
    return own | what.get((package, "api"), set()) if login == "staff" else own


@pytest.mark.parametrize("package", PACKAGES)
async def test_what_a_request_can_reach_has_policies(databases: dict[str, Database], package: str) -> None:
    """A new table that a request's login may touch needs a decision: row-level security, forced. Partitions are reached
    through their table only."""
    database = databases[package]
    async with connected(database, "worker") as connection:
        tables = {row["name"]: row for row in await connection.fetch(TABLES)}
        for login in (database.api_login, database.staff_login):
            for name, rights in (await rights_on_tables(connection, login)).items():
                assert tables[name]["is_forced"], (login, name, rights)
                assert not tables[name]["is_partition"], (login, name, rights)
                assert rights <= {"SELECT", "INSERT", "UPDATE", "DELETE"}, (login, name)
        worker = await rights_on_tables(connection, database.name)
        assert not {name for name, rights in worker.items() if rights & {"TRUNCATE", "TRIGGER"}}
        assert worker["alembic_version"] == {"SELECT"}


@pytest.mark.parametrize("package", PACKAGES)
async def test_policies_name_their_login_and_a_students_never_trusts_a_role(
    databases: dict[str, Database], package: str
) -> None:
    database = databases[package]
    async with connected(database, "worker") as connection:
        policies = await connection.fetch(
            "SELECT tablename, policyname, permissive, roles::text[], coalesce(qual, '') || coalesce(with_check, '') "
            "AS rows FROM pg_policies WHERE schemaname = 'public'"
        )
    for policy in policies:
        assert set(policy["roles"]) <= {database.name, database.api_login, database.staff_login}, policy
        if database.api_login in policy["roles"] and policy["permissive"] == "PERMISSIVE":
            assert "app.role" not in policy["rows"], policy
        assert policy["policyname"] != "previous_version", "a new database has no previous version"


def message(type: str, **headers: str) -> list[str]:
    return [f"forged/{uuid4()}", "bursar.events", type, json.dumps({"cloudEvents:type": type, **headers})]


@pytest.mark.parametrize("login", REQUESTS)
@pytest.mark.parametrize("package", PACKAGES)
async def test_a_request_publishes_what_its_service_may_say_and_nothing_else(
    databases: dict[str, Database], package: str, login: Login
) -> None:
    may = allowed(PUBLISHES, package, login)
    async with connected(databases[package], login) as connection:
        attempt = Attempt(connection, role="admin", student_id=str(uuid4()))
        types = {type for type in EVENT_TYPES if await attempt.error(INTO_OUTBOX, *message(type)) is None}
        assert types == may
        forged = [
            ["f1", "", "enrollment.payments", "{}"],
            ["f2", "enrollment.queues", "enrollment.payments", "{}"],
            ["f3", "bursar.events", "payment.succeeded.v1.more", "{}"],
        ]
        for type in may:
            forged += [
                ["f4", "", type, json.dumps({"cloudEvents:type": type})],
                ["f5", "bursar.events", type, json.dumps({"cloudEvents:type": "payment.disputed"})],
                ["f6", "bursar.events", type, "{}"],
                message(type, **{"cloudEvents_type": "payment.succeeded.v1"}),
            ]
        for values in forged:
            assert await attempt.error(INTO_OUTBOX, *values) == DENIED, values
        previous = INTO_OUTBOX.replace("outbox_messages", "outbox")
        for type in EVENT_TYPES:
            assert await attempt.error(previous, *message(type)) == DENIED, "only the previous version writes to it"
        for sql in (
            "INSERT INTO outbox_due (id, month) VALUES (1000000000, now())",
            "UPDATE outbox_messages SET routing_key = 'payment.succeeded.v1'",
            "DELETE FROM outbox_messages",
            "DELETE FROM outbox_due",
            "SELECT body FROM outbox_messages",
            "SELECT headers FROM outbox_messages",
            "SELECT nextval('outbox_messages_id_seq')",
            "SELECT setval('outbox_messages_id_seq', 1)",
        ):
            assert await attempt.error(sql) == DENIED, sql


@pytest.mark.parametrize("login", REQUESTS)
@pytest.mark.parametrize("package", PACKAGES)
async def test_a_request_enqueues_its_own_kinds_of_jobs_and_reads_no_payload(
    databases: dict[str, Database], package: str, login: Login
) -> None:
    kinds = {
        *checkout.jobs(None, None),  # type: ignore[arg-type]  # only the kinds are needed
        *(kind for kinds in ENQUEUES.values() for kind in kinds),
        "fetch_events",
        "anything",
    }
    async with connected(databases[package], login) as connection:
        attempt = Attempt(connection, role="admin", student_id=str(uuid4()))
        possible = {kind for kind in kinds if await attempt.error(INTO_JOBS, kind, f"forged/{uuid4()}") is None}
        assert possible == allowed(ENQUEUES, package, login)
        for sql in (
            "SELECT payload FROM jobs",
            "SELECT cause FROM jobs",
            "UPDATE jobs SET available_at = now()",
            "DELETE FROM jobs",
            "INSERT INTO jobs (kind, key, payload, created_at) SELECT 'refund', 'k', '{}', '2000-01-01'",
        ):
            assert await attempt.error(sql) == DENIED, sql


def statements(database: Database) -> Iterable[str]:
    """What no running process may do."""
    table = "jobs"
    yield from (
        "CREATE TABLE mine (id int)",
        "CREATE TEMP TABLE mine (id int)",
        "CREATE SCHEMA mine",
        f"CREATE VIEW mine AS SELECT * FROM {table}",
        f"DROP TABLE {table}",
        f"TRUNCATE {table}",
        f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} ADD COLUMN mine int",
        f"ALTER TABLE {table} OWNER TO CURRENT_USER",
        f"ALTER POLICY everything ON {table} TO PUBLIC",
        f"DROP POLICY everything ON {table}",
        f"CREATE POLICY mine ON {table} USING (true)",
        f"CREATE RULE mine AS ON INSERT TO {table} DO INSTEAD NOTHING",
        f"CREATE TRIGGER mine AFTER UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION notify_idle('jobs')",
        f"ALTER TABLE {table} DISABLE TRIGGER ALL",
        f"CREATE INDEX mine ON {table} (kind)",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE EXTENSION dblink",
        "UPDATE alembic_version SET version_num = '0001'",
        "SET session_replication_role = replica",
        f"SET ROLE {database.name}_owner",
        "SET ROLE postgres",
        f"SET SESSION AUTHORIZATION {database.name}_owner",
        "CREATE ROLE mine",
        "ALTER ROLE CURRENT_USER SUPERUSER",
        "ALTER ROLE CURRENT_USER BYPASSRLS",
        f"GRANT {database.name}_owner TO CURRENT_USER",
        "GRANT pg_read_all_data TO CURRENT_USER",
        "ALTER SYSTEM SET log_statement = 'all'",
        "CREATE DATABASE mine",
        f"DROP DATABASE {database.name}",
        f"ALTER DATABASE {database.name} OWNER TO CURRENT_USER",
        "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, '')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_ls_dir('.')",
        "SELECT rolpassword FROM pg_authid",
        "SELECT * FROM pg_user_mapping",
        "SELECT starelid FROM pg_statistic",
        "COPY jobs TO PROGRAM 'id'",
        "COPY jobs TO '/tmp/mine'",
        "COPY jobs FROM '/etc/passwd'",
        "SELECT pg_reload_conf()",
        "SELECT pg_switch_wal()",
        "SELECT pg_create_physical_replication_slot('mine')",
        "VACUUM FULL pg_catalog.pg_class",
    )


@pytest.mark.parametrize("login", RUNNING)
@pytest.mark.parametrize("package", PACKAGES)
async def test_no_running_process_changes_tables_rights_or_the_server(
    databases: dict[str, Database], package: str, login: Login
) -> None:
    database = databases[package]
    async with connected(database, login) as connection:
        possible = [sql for sql in statements(database) if await Attempt(connection).error(sql) is None]
        assert possible == []
        # a GRANT without the right to is a warning, and changes nothing
        await Attempt(connection).error("GRANT ALL ON jobs TO PUBLIC")
        others = [name for name in ("owner", "worker", "api", "staff") if name != login]
        member_of = {"staff": {"api"}}.get(login, set())
        for other in others:
            suffix = "" if other == "worker" else f"_{other}"
            error = await Attempt(connection).error(f"SET ROLE {database.name}{suffix}")
            assert (error is None) == (other in member_of), other


@pytest.mark.parametrize("login", LOGINS)
async def test_no_login_connects_to_the_database_of_another_service(
    databases: dict[str, Database], login: Login
) -> None:
    for package, database in databases.items():
        for other in databases.values():
            if other is not database:
                url = url_of(database, login).rsplit("/", 1)[0] + f"/{other.name}"
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await asyncpg.connect(url)
                assert package


@pytest.mark.parametrize("package", PACKAGES)
async def test_functions_are_called_by_who_needs_them(databases: dict[str, Database], package: str) -> None:
    database = databases[package]
    async with connected(database, "worker") as connection:
        logins: tuple[tuple[Login, str], ...] = (("api", database.api_login), ("staff", database.staff_login))
        for login, name in logins:
            rows = await connection.fetch(
                "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace "
                "AND prorettype <> 'trigger'::regtype AND has_function_privilege($1, oid, 'EXECUTE')",
                name,
            )
            assert {row["proname"] for row in rows} == allowed(CALLABLE, package, login), login
        unsafe = await connection.fetch(
            "SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef "
            "AND NOT coalesce(array_to_string(proconfig, ' '), '') LIKE '%search_path=public%pg_temp%'"
        )
        assert unsafe == [], "with the owner's rights, every name must be resolved in a fixed schema"


async def test_nobody_sees_the_statements_of_another_login(databases: dict[str, Database]) -> None:
    database = databases["checkout"]
    async with connected(database, "worker") as worker:
        await worker.fetch("SELECT 'a marker of the worker' AS marker")
        for login in REQUESTS:
            async with connected(database, login) as connection:
                seen = await connection.fetch(
                    "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%a marker of%' AND pid <> pg_backend_pid()"
                )
                assert seen == [], login
