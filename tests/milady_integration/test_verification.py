"""`python -m milady_integration verify`: rows that were changed by hand follow their facts again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from tests.databases import migrated
from tests.milady_integration.harness import Sandbox, Service, Student, new_program

import milady_integration
from contracts.audit import Actor
from kit.messaging.verification import HIDDEN, Repair, Report, verify
from ledger.policy import DEFAULT_POLICY
from milady_integration.verification import comparisons
from testkit.postgres_server import Database, PostgresServer


@pytest.fixture(scope="module")
def own_database(postgres_server: PostgresServer) -> Database:
    """Others leave rows behind."""
    return migrated(postgres_server, "milady_verification", milady_integration.__file__)


@pytest.fixture
async def service(own_database: Database, sandbox: Sandbox) -> AsyncIterator[Service]:
    service = Service(own_database, sandbox)
    yield service
    await service.close()


@pytest.fixture
async def student(service: Service) -> Student:
    """Enrolled at Milady."""
    student = Student(new_program())
    await service.deliver(student.paid())
    await service.run_jobs()
    assert await service.status(student) == "enrolled"
    assert not (await verified(service)).differences
    return student


async def verified(service: Service, *, repair: bool = False) -> Report:
    asked = Repair(verification_id=uuid4(), actor=Actor(id="ada", role="operator")) if repair else None
    compared = comparisons(DEFAULT_POLICY, service.mode)
    return await verify(service.database, compared, service="milady-integration", repair=asked)


async def by_hand(service: Service, sql: str, student: Student) -> None:
    async with service.database.transaction() as db:
        await db.execute(text(sql), {"student": student.id})


def named(report: Report) -> list[tuple[str, str | None, Any, Any]]:
    return [(each.table, each.column, each.stored, each.expected) for each in report.differences]


async def test_a_changed_enrollment_is_repaired(service: Service, student: Student) -> None:
    changed = "UPDATE enrollments SET desired_state = 'withdrawn', contact_email = 'x@y.z' WHERE student_id = :student"
    await by_hand(service, changed, student)
    report = await verified(service, repair=True)
    assert report.holds
    assert named(report) == [
        ("enrollments", "desired_state", "withdrawn", "enrolled"),
        ("enrollments", "contact_email", HIDDEN, HIDDEN),
    ]
    await service.run_jobs()
    assert await service.status(student) == "enrolled"
    assert service.sandbox.enrollments(student.id) == ["active"]
    assert not (await verified(service)).differences


@pytest.mark.parametrize(
    "statements",
    [
        ["UPDATE provider_enrollments SET status = 'withdrawn'"],
        ["UPDATE provider_enrollments SET step = 'enroll', status = 'wanted'"],
        ["DELETE FROM provider_enrollments"],
        ["DELETE FROM provider_enrollments", "DELETE FROM enrollments"],
    ],
    ids=["status", "step without a job", "deleted", "both deleted"],
)
async def test_a_changed_provider_enrollment_becomes_what_milady_has(
    service: Service, student: Student, statements: list[str]
) -> None:
    for statement in statements:
        await by_hand(service, f"{statement} WHERE student_id = :student", student)
    report = await verified(service, repair=True)
    assert report.differences and report.holds, report
    await service.run_jobs()
    assert await service.status(student) == "enrolled"
    assert not (await verified(service)).differences
    assert service.sandbox.enrollments(student.id).count("active") == 1
    await service.deliver(student.refunded())
    await service.run_jobs()
    assert (await service.published(student))[-1] == "withdrawn"
    assert "active" not in service.sandbox.enrollments(student.id)


async def test_a_purchase_that_was_only_started_needs_no_fact(service: Service) -> None:
    await service.deliver(Student(new_program()).starts())
    assert not (await verified(service)).differences
