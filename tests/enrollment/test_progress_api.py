"""GET /api/enrollments/{id}/progress and POST …/steps/{step_id}/done, for students, staff and others."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.caseload import assign
from tests.enrollment.harness import PRICE, SILVER, TRACK, Buyer, Service, curriculum
from tests.tokens import bearer

from kit.db.database import Database

STAFF = uuid4()


@pytest.fixture
async def student(service: Service) -> Buyer:
    buyer = Buyer()
    await service.deliver(curriculum(), buyer.paid())
    return buyer


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_progress_lists_every_project_and_step_in_order(service: Service, student: Buyer) -> None:
    progress = await service.progress(student)
    for project in progress["projects"]:
        UUID(project.pop("id"))
        for step in project["steps"]:
            UUID(step.pop("id"))
    assert progress == {
        "enrollment_id": str(student.enrollment_id),
        "track": TRACK.slug,
        "status": "active",
        "completed_at": None,
        "projects": [
            {
                "position": 1,
                "title": "A page",
                "status": "unlocked",
                "steps": [
                    {"position": 1, "title": "Write it", "done": False, "done_at": None},
                    {"position": 2, "title": "Publish it", "done": False, "done_at": None},
                ],
            },
            {
                "position": 2,
                "title": "A shop",
                "status": "locked",
                "steps": [{"position": 1, "title": "Sell it", "done": False, "done_at": None}],
            },
        ],
        "percent": 0,
    }


async def test_marking_a_step_returns_the_progress(service: Service, student: Buyer) -> None:
    first, *_ = await service.steps(student)
    answer = await service.done(student, first)
    assert answer.status_code == 200
    assert answer.json() == await service.progress(student)
    step = answer.json()["projects"][0]["steps"][0]
    assert step["done"] and step["done_at"]
    assert answer.json()["percent"] == 33


async def test_the_last_step_of_a_project_unlocks_the_next(service: Service, student: Buyer) -> None:
    first, second, third = await service.steps(student)
    assert problem(await service.done(student, third)) == (409, "project_locked")
    await service.done(student, second)
    assert problem(await service.done(student, third)) == (409, "project_locked")
    answer = await service.done(student, first)
    assert [project["status"] for project in answer.json()["projects"]] == ["completed", "unlocked"]
    assert (await service.done(student, third)).status_code == 200


async def test_the_last_step_completes_the_enrollment_and_publishes_it_once(service: Service, student: Buyer) -> None:
    await service.does_all(student)
    progress = await service.progress(student)
    assert (progress["status"], progress["percent"]) == ("completed", 100)
    assert progress["completed_at"] == progress["projects"][1]["steps"][0]["done_at"]
    assert await service.published(student.id) == ["1 activated", "2 completed"]
    (row,) = await service.rows(
        "SELECT headers, body FROM outbox_messages WHERE routing_key = 'enrollment.completed.v1'"
    )
    body = json.loads(row["body"])
    assert row["headers"]["cloudEvents:subject"] == str(student.purchase_id) == body["purchase_id"]
    assert (body["enrollment_id"], body["program"]["slug"]) == (str(student.enrollment_id), TRACK.slug)
    assert body["program"]["kind"] == "track"


async def test_each_step_publishes_the_progress_once(service: Service, student: Buyer) -> None:
    for step in await service.steps(student):
        for _ in range(2):
            assert (await service.done(student, step)).status_code == 200
    rows = await service.rows(
        "SELECT body FROM outbox_messages WHERE routing_key = 'enrollment.progressed.v1' ORDER BY id"
    )
    bodies = [body for row in rows if (body := json.loads(row["body"]))["student_id"] == str(student.id)]
    assert [body["percent"] for body in bodies] == [33, 66, 100]
    assert {(body["enrollment_id"], body["program_slug"]) for body in bodies} == {
        (str(student.enrollment_id), TRACK.slug)
    }


async def test_marking_twice_changes_nothing(service: Service, student: Buyer) -> None:
    first, *_ = await service.steps(student)
    once = (await service.done(student, first)).json()
    again = await service.done(student, first)
    assert (again.status_code, again.json()) == (200, once)
    await service.does_all(student)
    completed = await service.progress(student)
    await service.does_all(student)
    assert await service.progress(student) == completed
    assert await service.published(student.id) == ["1 activated", "2 completed"]


async def test_an_admin_can_mark_for_the_student(service: Service, student: Buyer) -> None:
    first, *_ = await service.steps(student)
    answer = await service.done(student, first, role="admin", who=STAFF)
    assert (answer.status_code, answer.json()["percent"]) == (200, 33)


async def test_a_case_manager_can_read_but_not_mark(service: Service, student: Buyer) -> None:
    first, *_ = await service.steps(student)
    await assign(service.database, "enrollment", STAFF, student.id)
    assert (await service.progress(student, role="case_manager", who=STAFF))["percent"] == 0
    assert problem(await service.done(student, first, role="case_manager", who=STAFF)) == (403, "forbidden")


@pytest.mark.parametrize("role", ["student", "specialist"])
async def test_another_students_progress_is_not_found(service: Service, student: Buyer, role: str) -> None:
    first, *_ = await service.steps(student)
    assert problem(await service.done(student, first, role=role, who=uuid4())) == (404, "unknown_enrollment")
    nobodys = f"/api/enrollments/{uuid4()}/progress/steps/{first}/done"
    assert problem(await service.api.post(nobodys, headers=bearer(student.id))) == (404, "unknown_enrollment")


async def test_a_step_of_another_enrollment_is_not_found(service: Service, student: Buyer) -> None:
    other = Buyer()
    await service.deliver(other.paid())
    (theirs, *_) = await service.steps(other)
    for step in (theirs, str(uuid4())):
        assert problem(await service.done(student, step)) == (404, "unknown_step")
    bad = await service.done(student, "no-uuid")
    assert problem(bad) == (422, "invalid_request")


async def test_marking_requires_a_token(service: Service, student: Buyer) -> None:
    first, *_ = await service.steps(student)
    path = f"/api/enrollments/{student.enrollment_id}/progress/steps/{first}/done"
    assert problem(await service.api.post(path)) == (401, "unauthorized")


async def test_a_membership_has_no_steps(service: Service) -> None:
    buyer = Buyer(program=SILVER, price=None)
    await service.deliver(buyer.invoice_paid(1))
    progress = await service.progress(buyer)
    assert (progress["track"], progress["projects"], progress["percent"]) == (None, [], 0)
    assert problem(await service.done(buyer, str(uuid4()))) == (404, "unknown_step")


async def test_a_paused_enrollment_accepts_no_steps_until_it_resumes(service: Service) -> None:
    buyer = Buyer(installments=4)
    await service.deliver(curriculum(), buyer.invoice_paid(1))
    first, *_ = await service.steps(buyer)
    await service.deliver(buyer.invoice_missed(2))
    assert problem(await service.done(buyer, first)) == (409, "enrollment_not_active")
    assert (await service.progress(buyer))["status"] == "paused"
    await service.deliver(buyer.invoice_paid(2))
    assert (await service.done(buyer, first)).status_code == 200


async def test_a_refund_ends_progress_and_a_new_purchase_continues_it(service: Service, student: Buyer) -> None:
    first, second, _ = await service.steps(student)
    await service.done(student, first)
    await service.deliver(student.refunded())
    for step in (first, second):
        assert problem(await service.done(student, step)) == (409, "enrollment_not_active")
    await service.deliver(Buyer(id=student.id).paid())
    assert (await service.progress(student))["percent"] == 33
    assert (await service.done(student, second)).status_code == 200


async def test_an_enrollment_that_becomes_underpaid_accepts_no_steps(service: Service) -> None:
    """The price can arrive after the payment."""
    buyer = Buyer(price=None)
    await service.deliver(curriculum(), buyer.paid(1))
    first, *_ = await service.steps(buyer)
    buyer.price = PRICE
    await service.deliver(buyer.paid(1))
    assert await service.standing(buyer) == ("pending", "underpaid")
    assert problem(await service.done(buyer, first)) == (409, "enrollment_not_active")
    assert await service.published(buyer.id) == ["1 activated", "2 pending"]


async def test_a_completed_enrollment_stays_completed_until_it_is_refunded(service: Service, student: Buyer) -> None:
    await service.does_all(student)
    await service.deliver(student.paid(), student.refunded(1))
    assert await service.standing(student) == ("completed", None)
    await service.deliver(student.refunded())
    assert await service.standing(student) == ("withdrawn", "refunded")
    assert await service.published(student.id) == ["1 activated", "2 completed", "3 withdrawn"]


async def test_a_failed_refund_restores_completion(service: Service, student: Buyer) -> None:
    await service.does_all(student)
    await service.deliver(student.refund_started(), student.refund_failed())
    assert await service.standing(student) == ("completed", None)
    assert await service.published(student.id) == ["1 activated", "2 completed", "3 withdrawn", "4 completed"]


async def test_a_late_event_does_not_restore_a_refunded_enrollment(service: Service, student: Buyer) -> None:
    await service.does_all(student)
    short = Buyer(id=student.id)
    await service.deliver(short.paid(1), student.refunded())
    assert await service.standing(student) == ("pending", "underpaid")


async def test_the_apis_login_can_only_mark_steps(service: Service, student: Buyer, api_database: Database) -> None:
    tables = ("project_progress", "step_progress")
    for table in tables:
        async with api_database.transaction() as db:
            assert await db.scalar(text(f"SELECT count(*) FROM {table}")) == 0, "no caller, no rows"
        for who, role, seen in ((student.id, "student", True), (uuid4(), "student", False), (STAFF, "admin", True)):
            async with api_database.transaction_of(student_id=who, role=role) as db:
                assert bool(await db.scalar(text(f"SELECT count(*) FROM {table}"))) is seen
    await assign(service.database, "enrollment", STAFF, student.id)
    async with api_database.transaction_of(student_id=STAFF, role="case_manager") as db:
        marked = await db.execute(text("UPDATE step_progress SET done_at = now()"))
        assert marked.rowcount == 0, "a case manager marks nothing"
        assert await db.scalar(text("SELECT count(*) FROM step_progress")) == 3
    for forbidden in (
        "SELECT * FROM curricula",
        "INSERT INTO step_progress SELECT * FROM step_progress",
        "DELETE FROM step_progress",
        "DELETE FROM project_progress",
        "UPDATE step_progress SET title = 'x'",
        "UPDATE enrollments SET payment_status = 'paid'",
        "UPDATE enrollments SET student_id = gen_random_uuid()",
    ):
        with pytest.raises(DBAPIError, match="permission denied"):
            async with api_database.transaction_of(student_id=student.id, role="admin") as db:
                await db.execute(text(forbidden))
