"""`python -m instructor_assignment verify`: assignments that were changed by hand follow their facts again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from tests.databases import migrated
from tests.instructor_assignment.harness import Service, Student, new_program

import instructor_assignment
from contracts.audit import Actor
from instructor_assignment.verification import comparisons
from kit.messaging.verification import Repair, Report, verify
from ledger.policy import DEFAULT_POLICY
from testkit.postgres_server import Database, PostgresServer


@pytest.fixture(scope="module")
def own_database(postgres_server: PostgresServer) -> Database:
    """Others leave rows behind."""
    return migrated(postgres_server, "instructor_verification", instructor_assignment.__file__)


@pytest.fixture
async def service(own_database: Database) -> AsyncIterator[Service]:
    service = Service(own_database)
    yield service
    await service.close()


async def verified(service: Service, *, repair: bool = False) -> Report:
    asked = Repair(verification_id=uuid4(), actor=Actor(id="ada", role="operator")) if repair else None
    compared = comparisons(DEFAULT_POLICY)
    return await verify(service.database, compared, service="instructor-assignment", repair=asked)


async def by_hand(service: Service, sql: str, **values: Any) -> None:
    async with service.database.transaction() as db:
        await db.execute(text(sql), values)


def named(report: Report) -> list[tuple[str, str | None, Any, Any]]:
    return [(each.table, each.column, each.stored, each.expected) for each in report.differences]


ASSIGNMENTS = "ai_instructor_assignments"


@pytest.mark.parametrize(
    ("sql", "difference"),
    [
        (
            "UPDATE ai_instructor_assignments SET desired_status = 'released', reason = 'x'",
            [("desired_status", "released", "assigned"), ("reason", "x", None)],
        ),
        (
            "UPDATE ai_instructor_assignments SET status = 'released', instructor_id = NULL",
            [("status", "released", "waiting")],
        ),
        (
            "UPDATE ai_instructor_assignments SET program_slug = program_slug || '-x'",
            [("program_slug", "x", "x")],
        ),
    ],
    ids=["desired_status", "status", "program"],
)
async def test_a_changed_assignment_is_repaired(
    service: Service, sql: str, difference: list[tuple[str, Any, Any]]
) -> None:
    student = Student(new_program())
    slug = student.program.slug
    await service.add(student.program, "Ada")
    await service.deliver(student.paid())
    assert await service.status(student) == "assigned"
    assert not (await verified(service)).differences
    await by_hand(service, f"{sql} WHERE student_id = :student", student=student.id)
    report = await verified(service, repair=True)
    assert report.holds
    found = [(column, stored, expected) for _, column, stored, expected in named(report)]
    assert found == [(c, f"{slug}-x", slug) if c == "program_slug" else (c, s, e) for c, s, e in difference]
    assert await service.status(student) == "assigned"
    assert not (await verified(service)).differences


async def test_a_deleted_assignment_is_made_again_and_published_with_a_later_revision(service: Service) -> None:
    student = Student(new_program())
    await service.add(student.program, "Ada")
    await service.deliver(student.paid())
    await by_hand(service, "DELETE FROM ai_instructor_assignments WHERE student_id = :student", student=student.id)
    report = await verified(service, repair=True)
    assert report.holds
    assert [(each.column, each.outcome) for each in report.differences] == [(None, "repaired")]
    row = await service.assignment(student)
    assert row is not None
    assert (row["status"], row["revision"]) == ("assigned", 2)
    await service.deliver(student.refunded())
    assert await service.published(student) == [
        "assigned",
        "assigned",
        "released",
    ]
    assert not (await verified(service)).differences


async def test_a_doubled_assignment_is_removed_and_its_instructor_has_one_student_less(service: Service) -> None:
    student = Student(new_program())
    instructor = await service.add(student.program, "Ada")
    await service.deliver(student.paid())
    await by_hand(
        service,
        "INSERT INTO ai_instructor_assignments (id, student_id, program_slug, program_id, desired_status, status,"
        " instructor_id) SELECT gen_random_uuid(), gen_random_uuid(), program_slug, program_id, desired_status, status,"
        " instructor_id FROM ai_instructor_assignments WHERE student_id = :student",
        student=student.id,
    )
    report = await verified(service, repair=True)
    assert [(each.table, each.expected, each.outcome) for each in report.differences] == [
        (ASSIGNMENTS, None, "repaired")
    ]
    (counted,) = await service.rows("SELECT students FROM ai_instructors WHERE id = :id", id=instructor)
    assert counted["students"] == 1


async def test_a_changed_count_of_students_is_repaired(service: Service) -> None:
    student = Student(new_program())
    instructor = await service.add(student.program, "Ada")
    await service.deliver(student.paid())
    await by_hand(service, "UPDATE ai_instructors SET students = 7 WHERE id = :id", id=instructor)
    assert named(await verified(service, repair=True)) == [("ai_instructors", "students", 7, 1)]
    assert not (await verified(service)).differences
