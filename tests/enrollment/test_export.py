"""GET /api/me/export: what a student reads of what is stored about them, and nobody else's rows."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from tests.enrollment.harness import Buyer, Service
from tests.tokens import bearer

PATH = "/api/me/export"


@pytest.fixture
async def buyers(service: Service) -> tuple[Buyer, Buyer]:
    ann, bob = Buyer(), Buyer()
    for each in (ann, bob):
        await service.deliver(each.paid())
    return ann, bob


async def test_a_student_reads_their_own_rows_and_no_others(service: Service, buyers: tuple[Buyer, Buyer]) -> None:
    for own, other in (buyers, buyers[::-1]):
        answer = await service.api.get(PATH, headers=bearer(own.id))
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert [row["student_id"] for row in found["tables"]["enrollments"]] == [str(own.id)]
        assert str(other.id) not in answer.text
        assert "facts" in found["omitted"] and "facts" not in found["tables"]


async def test_it_is_recorded_with_the_student_as_the_actor(service: Service, buyers: tuple[Buyer, Buyer]) -> None:
    await service.api.get(PATH, headers=bearer(buyers[0].id))
    (row,) = await service.rows("SELECT body FROM outbox_messages WHERE routing_key = 'audit.recorded.v1'")
    recorded = json.loads(row["body"])
    assert recorded["actor"] == {"id": str(buyers[0].id), "role": "student"}
    assert (recorded["act"]["action"], recorded["act"]["student_id"]) == ("student.exported", str(buyers[0].id))


async def test_an_admins_export_is_recorded(service: Service, buyers: tuple[Buyer, Buyer]) -> None:
    path = f"/api/admin/students/{buyers[0].id}/export"
    assert (await service.api.get(path, headers=bearer(uuid4(), "admin"))).status_code == 200
    (row,) = await service.rows("SELECT body FROM outbox_messages WHERE routing_key = 'audit.recorded.v1'")
    recorded = json.loads(row["body"])
    assert (recorded["act"]["action"], recorded["act"]["student_id"]) == ("student.exported", str(buyers[0].id))


async def test_only_a_student_and_only_by_their_own_token(service: Service, buyers: tuple[Buyer, Buyer]) -> None:
    assert (await service.api.get(PATH)).status_code == 401
    for role in ("admin", "case_manager", "specialist"):
        assert (await service.api.get(PATH, headers=bearer(uuid4(), role))).status_code == 403
    query = {"student_id": str(buyers[1].id), "id": str(buyers[1].id)}
    answer = await service.api.get(PATH, headers=bearer(buyers[0].id), params=query)
    assert str(buyers[1].id) not in answer.text


async def test_it_is_limited(service: Service, buyers: tuple[Buyer, Buyer]) -> None:
    student = bearer(buyers[0].id)
    statuses = [(await service.api.get(PATH, headers=student)).status_code for _ in range(11)]
    assert statuses == [200] * 10 + [429]
    assert (await service.api.get(PATH, headers=bearer(buyers[1].id))).status_code == 200, "each has a limit"
