"""GET /api/enrollments/{id}/progress and POST …/steps/{step_id}/done, as students, staff and strangers see them."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.enrollment.school import PRICE, SILVER, TRACK, Buyer, School, curriculum
from tests.tokens import bearer

from kit.db.database import Database

STAFF = uuid4()


@pytest.fixture
async def student(school: School) -> Buyer:
    buyer = Buyer()
    await school.hear(curriculum(), buyer.paid())
    return buyer


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_progress_lists_every_project_and_step_in_order(school: School, student: Buyer) -> None:
    progress = await school.progress(student)
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


async def test_a_step_that_is_done_is_answered_with_the_progress(school: School, student: Buyer) -> None:
    first, *_ = await school.steps(student)
    answer = await school.done(student, first)
    assert answer.status_code == 200
    assert answer.json() == await school.progress(student)
    step = answer.json()["projects"][0]["steps"][0]
    assert step["done"] and step["done_at"]
    assert answer.json()["percent"] == 33


async def test_the_last_step_of_a_project_opens_the_next(school: School, student: Buyer) -> None:
    first, second, third = await school.steps(student)
    assert problem(await school.done(student, third)) == (409, "project_locked")
    await school.done(student, second)
    assert problem(await school.done(student, third)) == (409, "project_locked")
    answer = await school.done(student, first)
    assert [project["status"] for project in answer.json()["projects"]] == ["completed", "unlocked"]
    assert (await school.done(student, third)).status_code == 200


async def test_the_last_step_of_all_completes_the_enrollment_and_says_so_once(school: School, student: Buyer) -> None:
    await school.does_all(student)
    progress = await school.progress(student)
    assert (progress["status"], progress["percent"]) == ("completed", 100)
    assert progress["completed_at"] == progress["projects"][1]["steps"][0]["done_at"]
    assert await school.said(student.id) == ["1 activated", "2 completed"]
    (row,) = await school.rows("SELECT headers, body FROM outbox WHERE routing_key = 'enrollment.completed.v1'")
    body = json.loads(row["body"])
    assert row["headers"]["cloudEvents:subject"] == str(student.purchase_id) == body["purchase_id"]
    assert (body["enrollment_id"], body["program"]["slug"]) == (str(student.enrollment_id), TRACK.slug)
    assert body["program"]["kind"] == "track"


async def test_doing_it_twice_changes_nothing(school: School, student: Buyer) -> None:
    first, *_ = await school.steps(student)
    once = (await school.done(student, first)).json()
    again = await school.done(student, first)
    assert (again.status_code, again.json()) == (200, once)
    await school.does_all(student)
    completed = await school.progress(student)
    await school.does_all(student)
    assert await school.progress(student) == completed
    assert await school.said(student.id) == ["1 activated", "2 completed"]


async def test_an_admin_may_mark_for_the_student(school: School, student: Buyer) -> None:
    first, *_ = await school.steps(student)
    answer = await school.done(student, first, role="admin", who=STAFF)
    assert (answer.status_code, answer.json()["percent"]) == (200, 33)


async def test_a_case_manager_looks_and_does_not_mark(school: School, student: Buyer) -> None:
    first, *_ = await school.steps(student)
    assert (await school.progress(student, role="case_manager", who=STAFF))["percent"] == 0
    assert problem(await school.done(student, first, role="case_manager", who=STAFF)) == (403, "forbidden")


@pytest.mark.parametrize("role", ["student", "specialist"])
async def test_somebody_elses_enrollment_is_unknown(school: School, student: Buyer, role: str) -> None:
    first, *_ = await school.steps(student)
    assert problem(await school.done(student, first, role=role, who=uuid4())) == (404, "unknown_enrollment")
    nobodys = f"/api/enrollments/{uuid4()}/progress/steps/{first}/done"
    assert problem(await school.api.post(nobodys, headers=bearer(student.id))) == (404, "unknown_enrollment")


async def test_a_step_of_another_enrollment_is_unknown(school: School, student: Buyer) -> None:
    other = Buyer()
    await school.hear(other.paid())
    (theirs, *_) = await school.steps(other)
    for step in (theirs, str(uuid4())):
        assert problem(await school.done(student, step)) == (404, "unknown_step")
    bad = await school.done(student, "no-uuid")
    assert problem(bad) == (422, "invalid_request")


async def test_without_a_token_nothing_is_marked(school: School, student: Buyer) -> None:
    first, *_ = await school.steps(student)
    path = f"/api/enrollments/{student.enrollment_id}/progress/steps/{first}/done"
    assert problem(await school.api.post(path)) == (401, "unauthorized")


async def test_a_membership_has_no_steps(school: School) -> None:
    buyer = Buyer(program=SILVER, price=None)
    await school.hear(buyer.invoice_paid(1))
    progress = await school.progress(buyer)
    assert (progress["track"], progress["projects"], progress["percent"]) == (None, [], 0)
    assert problem(await school.done(buyer, str(uuid4()))) == (404, "unknown_step")


async def test_an_enrollment_that_rests_takes_no_steps_until_it_is_open_again(school: School) -> None:
    buyer = Buyer(installments=4)
    await school.hear(curriculum(), buyer.invoice_paid(1))
    first, *_ = await school.steps(buyer)
    await school.hear(buyer.invoice_missed(2))
    assert problem(await school.done(buyer, first)) == (409, "enrollment_not_active")
    assert (await school.progress(buyer))["status"] == "paused"
    await school.hear(buyer.invoice_paid(2))
    assert (await school.done(buyer, first)).status_code == 200


async def test_a_refund_ends_the_studies_and_a_new_purchase_goes_on_with_them(school: School, student: Buyer) -> None:
    first, second, _ = await school.steps(student)
    await school.done(student, first)
    await school.hear(student.refunded())
    for step in (first, second):
        assert problem(await school.done(student, step)) == (409, "enrollment_not_active")
    await school.hear(Buyer(id=student.id).paid())
    assert (await school.progress(student))["percent"] == 33
    assert (await school.done(student, second)).status_code == 200


async def test_an_enrollment_that_turns_out_to_be_underpaid_takes_no_steps(school: School) -> None:
    """The price may be told after the money."""
    buyer = Buyer(price=None)
    await school.hear(curriculum(), buyer.paid(1))
    first, *_ = await school.steps(buyer)
    buyer.price = PRICE
    await school.hear(buyer.paid(1))
    assert await school.standing(buyer) == ("pending", "underpaid")
    assert problem(await school.done(buyer, first)) == (409, "enrollment_not_active")
    assert await school.said(buyer.id) == ["1 activated", "2 pending"]


async def test_a_completed_enrollment_stays_so_until_its_money_goes_back(school: School, student: Buyer) -> None:
    await school.does_all(student)
    await school.hear(student.paid(), student.refunded(1))
    assert await school.standing(student) == ("completed", None)
    await school.hear(student.refunded())
    assert await school.standing(student) == ("withdrawn", "refunded")
    assert await school.said(student.id) == ["1 activated", "2 completed", "3 withdrawn"]


async def test_what_was_completed_is_so_again_when_the_refund_fails(school: School, student: Buyer) -> None:
    await school.does_all(student)
    await school.hear(student.refund_begun(), student.refund_failed())
    assert await school.standing(student) == ("completed", None)
    assert await school.said(student.id) == ["1 activated", "2 completed", "3 withdrawn", "4 completed"]


async def test_a_late_payment_does_not_give_a_completed_enrollment_back_while_the_money_is_gone(
    school: School, student: Buyer
) -> None:
    await school.does_all(student)
    short = Buyer(id=student.id)
    await school.hear(short.paid(1), student.refunded())
    assert await school.standing(student) == ("pending", "underpaid")


async def test_the_database_itself_lets_the_api_do_no_more_than_mark(
    school: School, student: Buyer, api_database: Database
) -> None:
    tables = ("project_progress", "step_progress")
    for table in tables:
        async with api_database.transaction() as db:
            assert await db.scalar(text(f"SELECT count(*) FROM {table}")) == 0, "no caller, no rows"
        for who, role, seen in ((student.id, "student", True), (uuid4(), "student", False), (STAFF, "admin", True)):
            async with api_database.transaction_of(student_id=who, role=role) as db:
                assert bool(await db.scalar(text(f"SELECT count(*) FROM {table}"))) is seen
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
