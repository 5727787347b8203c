"""What staff change for a student leaves an audit record; what students do themselves does not."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
from fastapi import FastAPI
from tests.audit import AuditedRoutes, mutating_admin_routes
from tests.enrollment.harness import Buyer, Service, curriculum

from testkit import postgres_server as pg

STEP = "/api/enrollments/{enrollment_id}/progress/steps/{step_id}/done"


async def test_progress_that_an_admin_records_leaves_an_audit_record(
    service: Service, app: FastAPI, enrollment_database: pg.Database
) -> None:
    student = Buyer()
    await service.deliver(curriculum(), student.paid())
    first, second, *_ = await service.steps(student)

    async def request(method: str, path: str, **sent: Any) -> httpx.Response:
        return await service.done(student, first, role="admin", who=uuid4())

    routes = AuditedRoutes(enrollment_database.owner_url, request)
    record = await routes.call("POST", STEP, "progress.recorded", student.enrollment_id, first)
    assert (record.act.object_id, record.act.student_id) == (str(first), student.id)
    assert mutating_admin_routes(app) == set(), "add the new one here"

    counted = "SELECT count(*) AS n FROM outbox_messages WHERE routing_key = 'audit.recorded.v1'"
    before = await service.rows(counted)
    assert (await service.done(student, second)).is_success
    assert await service.rows(counted) == before
