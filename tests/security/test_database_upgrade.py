"""A database from before staff and migrations had logins of their own: its processes keep running meanwhile."""

from __future__ import annotations

import asyncio
import importlib
from uuid import uuid4

import asyncpg
import pytest
from tests.security.databases import TABLES, Attempt, connected

from kit.db import migrate
from testkit.postgres_server import PostgresServer

# revision before the logins -> what the API's login of that version does
PREVIOUS = {"checkout": "0002", "notifications": "0001"}


async def previous_version(server: PostgresServer, package: str, name: str) -> tuple[str, str]:
    """The database as the previous version made it: the worker's login owns everything. Returns both logins' URLs."""
    admin = await asyncpg.connect(server.admin_url)
    try:
        for login in (name, f"{name}_api"):
            await admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'old'")
        await admin.execute(f"CREATE DATABASE {name} OWNER {name}")
        await admin.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
        await admin.execute(f"GRANT CONNECT ON DATABASE {name} TO {name}_api")
    finally:
        await admin.close()
    inside = await asyncpg.connect(server.url(name, *admin_of(server)))
    try:
        await inside.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        await inside.execute(f"GRANT ALL ON SCHEMA public TO {name}")
        await inside.execute(f"GRANT USAGE ON SCHEMA public TO {name}_api")
    finally:
        await inside.close()
    worker = server.url(name, name, "old")
    folder = migrate.folder_of(str(importlib.import_module(package).__file__))
    await asyncio.to_thread(migrate.upgrade, worker, folder, PREVIOUS[package])
    return worker, server.url(name, f"{name}_api", "old")


def admin_of(server: PostgresServer) -> tuple[str, str]:
    login = server.admin_url.split("//")[1].rpartition("@")[0]
    user, _, password = login.partition(":")
    return user, password


@pytest.mark.parametrize("package", PREVIOUS)
async def test_the_previous_versions_processes_keep_running(postgres_server: PostgresServer, package: str) -> None:
    name = f"upgraded_{package}"
    worker_url, api_url = await previous_version(postgres_server, package, name)
    worker, api = await asyncpg.connect(worker_url), await asyncpg.connect(api_url)
    insert = (
        "INSERT INTO outbox (message_key, exchange, routing_key, headers, body, mandatory) "
        "VALUES ($1, 'bursar.events', $2, jsonb_build_object('cloudEvents:type', $2::text), '', false) "
        "ON CONFLICT (message_key) DO NOTHING"
    )
    try:
        await worker.execute(insert, "before", "payment.succeeded.v1")
        database = postgres_server.create_database(name)  # what deploy/postgres does
        await worker.execute(insert, "between", "payment.succeeded.v1")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await worker.execute("DROP TABLE outbox")
        folder = migrate.folder_of(str(importlib.import_module(package).__file__))
        await asyncio.to_thread(migrate.upgrade, database.owner_url, folder)

        await worker.execute(insert, "after", "payment.succeeded.v1")
        await worker.execute("UPDATE outbox SET published_at = now()")
        assert await worker.fetchval("SELECT count(*) FROM outbox") == 3
        key = "INSERT INTO idempotency_keys (caller, key, request_hash) VALUES ('me', $1, '')"
        await api.execute(key, str(uuid4()))
        assert await api.fetchval("SELECT count(*) FROM idempotency_keys") == 1
        if package == "checkout":
            await api.execute(insert, "of a request", "purchase.created.v1")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await api.execute(insert.replace("bursar.events", ""), "forged", "enrollment.payments")
            student = uuid4()
            await worker.execute("INSERT INTO contacts (student_id, email, revision) VALUES ($1, 'a@b.c', 1)", student)
            as_admin = await Attempt(api, role="admin").rows("SELECT student_id FROM contacts")
            assert [row["student_id"] for row in as_admin] == [student]

        # a day later
        async with connected(database, "owner") as owner:
            left = await owner.fetch("SELECT tablename, policyname, qual, with_check FROM pg_policies")
            for policy in left:
                if "previous_version" in policy["policyname"]:
                    for rows in (policy["qual"], policy["with_check"]):
                        assert rows is None or "now() < '" in rows, policy
                    await owner.execute(f"DROP POLICY {policy['policyname']} ON {policy['tablename']}")
        assert await api.fetchval("SELECT count(*) FROM idempotency_keys") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.execute(insert, "late", "purchase.created.v1")
    finally:
        await worker.close()
        await api.close()


async def test_an_upgraded_database_has_the_same_owner(postgres_server: PostgresServer) -> None:
    name = "upgraded_objects"
    await previous_version(postgres_server, "notifications", name)
    database = postgres_server.create_database(name)
    async with connected(database, "owner") as owner:
        assert await owner.fetch(TABLES)
        owners = await owner.fetch(
            "SELECT DISTINCT pg_get_userbyid(relowner)::text FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "UNION SELECT pg_get_userbyid(proowner)::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace "
            "UNION SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()"
        )
        assert owners == [(f"{name}_owner",)]
