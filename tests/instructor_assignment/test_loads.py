"""The number of an instructor's students: counted where assignments change, and read without reading them."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

from sqlalchemy import text
from tests.databases import opened
from tests.instructor_assignment.harness import Service, Student, new_program
from tests.plans import faults_of, recorded

import instructor_assignment
from contracts.people import Program
from instructor_assignment import repository
from kit.db import migrate
from testkit.postgres_server import Database, PostgresServer

MANY = 100_000
BEFORE = "0004"
"""The revision before the one that adds the numbers."""


async def counted(service: Service, program: Program) -> dict[str, int]:
    rows = await service.rows("SELECT name, students FROM ai_instructors WHERE program_slug = :slug", slug=program.slug)
    return {row["name"]: row["students"] for row in rows}


async def test_every_change_of_an_assignment_is_counted(service: Service) -> None:
    program = new_program()
    ada = await service.add(program, "Ada", capacity=2)
    students = [Student(program) for _ in range(4)]
    for student in students:
        await service.deliver(student.paid())
        assert await counted(service, program) == await service.loads(program)
    assert await counted(service, program) == {"Ada": 2}
    await service.add(program, "Grace", capacity=5)
    assert await counted(service, program) == await service.loads(program) == {"Ada": 2, "Grace": 2}
    await service.deliver(students[0].refunded())
    assert await counted(service, program) == await service.loads(program)
    changed = await service.call("PATCH", f"/api/admin/instructors/{ada}", json={"is_active": False})
    assert changed.json()["students"] == 0
    assert await counted(service, program) == await service.loads(program) == {"Ada": 0, "Grace": 3}
    assert (await service.call("DELETE", f"/api/admin/instructors/{ada}")).status_code == 204


async def test_an_assignment_that_is_deleted_is_not_counted(service: Service) -> None:
    program = new_program()
    await service.add(program, "Ada")
    student = Student(program)
    await service.deliver(student.paid())
    await service.rows("DELETE FROM ai_instructor_assignments WHERE student_id = :id RETURNING 1", id=student.id)
    assert await counted(service, program) == {"Ada": 0}


async def test_what_is_read_under_the_programs_lock_reads_no_table_as_a_whole(
    service: Service, assignment_database: Database
) -> None:
    program = new_program()
    instructor = UUID(await service.add(program, "Ada", capacity=MANY))
    student = Student(program)
    await service.deliver(student.paid())
    columns = "id, student_id, program_slug, program_id, desired_status, status, since"
    await service.rows(
        f"INSERT INTO ai_instructor_assignments ({columns}) "
        "SELECT gen_random_uuid(), gen_random_uuid(), :slug, 'x', 'assigned', 'waiting', "
        "now() - n * interval '1 second' FROM generate_series(1, :many) AS n RETURNING 1",
        slug=program.slug,
        many=MANY,
    )
    await service.rows(
        "INSERT INTO ai_instructors (id, program_slug, is_active, name, capacity) "
        "SELECT gen_random_uuid(), 'full-' || n, false, 'x', 1 FROM generate_series(1, 20000) AS n RETURNING 1"
    )
    async with opened(assignment_database.owner_url) as owner, owner.transaction() as db:
        await db.execute(text("ANALYZE ai_instructors, ai_instructor_assignments"))
    try:
        async with recorded(service.database) as reads, service.database.transaction() as db:
            await repository.loads(db, [program.slug])
            assert not [read for read in reads if "ai_instructor_assignments" in read.statement]
            await repository.waiting(db, {program.slug: 20, "none": 20})
            await repository.read(db, [uuid4() for _ in range(20)])
            await repository.students_of(db, instructor)
        faults = await faults_of(assignment_database.owner_url, reads)
        assert not [fault for fault in faults if fault.startswith("reads")]
    finally:
        await service.rows("DELETE FROM ai_instructor_assignments WHERE status = 'waiting' RETURNING 1")
        await service.rows("DELETE FROM ai_instructors WHERE program_slug LIKE 'full-%' RETURNING 1")


async def test_the_migration_counts_what_is_there(postgres_server: PostgresServer) -> None:
    created = postgres_server.create_database("instructor_loads")
    folder = migrate.folder_of(instructor_assignment.__file__)
    await asyncio.to_thread(migrate.upgrade, created.owner_url, folder, BEFORE)
    async with opened(created.url) as database:
        async with database.transaction() as db:
            await db.execute(
                text(
                    "INSERT INTO ai_instructor_assignments"
                    " (id, student_id, program_slug, program_id, desired_status, status, instructor_id)"
                    " SELECT gen_random_uuid(), gen_random_uuid(), program_slug, 'x', 'assigned', 'assigned', id"
                    " FROM ai_instructors, generate_series(1, 3) WHERE name < 'M'"
                )
            )
        await asyncio.to_thread(migrate.upgrade, created.owner_url, folder)
        async with database.transaction() as db:
            wrong = await db.execute(
                text("SELECT name FROM ai_instructors WHERE students <> CASE WHEN name < 'M' THEN 3 ELSE 0 END")
            )
            assert wrong.all() == []
            assert await db.scalar(text("SELECT sum(students) > 0 FROM ai_instructors"))
