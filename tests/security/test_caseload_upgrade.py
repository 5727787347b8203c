"""A database from before case managers had a caseload: they keep the students for whom a sponsor was asked to pay."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import asyncpg
from tests.security.databases import Attempt, connected

import checkout
from checkout.purchases.caseload import publish_new
from kit.db import migrate
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from testkit.postgres_server import PostgresServer

FUNDING = "INSERT INTO funding_payments (id, student_id, program_id, amount) VALUES (gen_random_uuid(), $1, 'p', 1)"


async def asked(worker: asyncpg.Connection[asyncpg.Record], actor: str, student: UUID) -> None:
    async with worker.transaction():
        await worker.execute("SELECT set_config('app.actor', $1, true)", actor)
        await worker.execute(FUNDING, student)


async def test_the_caseload_begins_with_sponsored_students(postgres_server: PostgresServer) -> None:
    created = postgres_server.create_database("checkout_before_caseloads")
    folder = migrate.folder_of(checkout.__file__)
    await asyncio.to_thread(migrate.upgrade, created.owner_url, folder, "0009")
    first, second, admin = uuid4(), uuid4(), uuid4()
    mine, moved, of_admin, external = (uuid4() for _ in range(4))
    async with connected(created, "worker") as worker:
        await asked(worker, f"case_manager:{first}", mine)
        await asked(worker, f"case_manager:{first}", moved)
        await asked(worker, f"case_manager:{second}", moved)
        await asked(worker, f"admin:{admin}", of_admin)
        await asked(worker, "event:evt_1", external)
    await asyncio.to_thread(migrate.upgrade, created.owner_url, folder)

    students = "SELECT student_id FROM funding_payments"
    async with connected(created, "staff") as staff:
        for who, seen in ((first, {mine}), (second, {moved}), (uuid4(), set())):
            as_now = Attempt(staff, role="case_manager", student_id=str(who), case_manager_id=str(who))
            assert {row["student_id"] for row in await as_now.rows(students)} == seen
        previous_version = Attempt(staff, role="case_manager", student_id=str(first))
        assert len({row["student_id"] for row in await previous_version.rows(students)}) == 4, "for a day"
    async with connected(created, "owner") as owner:
        (policy,) = await owner.fetch(
            "SELECT qual, with_check FROM pg_policies WHERE tablename = 'contacts' AND policyname = 'own_rows'"
        )
        assert "now() < '" in policy["qual"] and policy["qual"] == policy["with_check"]

    database = Database(created.url)
    for count in (2, 0):  # `migrate` publishes them, once
        async with database.transaction() as db:
            assert await publish_new(UnitOfWork(db=db, source="checkout", now=utc_now())) == count
    await database.close()
    async with connected(created, "worker") as worker:
        published = await worker.fetch(
            "SELECT message_key FROM outbox_messages WHERE routing_key = 'student.case_manager_changed.v1'"
        )
    keys = {str(row["message_key"]) for row in published}
    assert keys == {f"{student}/1/student.case_manager_changed.v1" for student in (mine, moved)}
