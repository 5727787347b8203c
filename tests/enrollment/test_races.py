"""Students and payments change the same enrollment at the same time: on a real database, in every order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from uuid import UUID

import pytest
from sqlalchemy import text
from tests.deliveries import AT, deliver, envelope, handle
from tests.enrollment.school import PAYMENTS, Buyer, School, curriculum
from tests.waiting import until

from contracts.checkout import Project
from enrollment import progress_repository
from enrollment.progress import Marked
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork


@pytest.fixture
async def student(school: School) -> Buyer:
    buyer = Buyer()
    await school.hear(curriculum(), buyer.paid())
    return buyer


async def waits(school: School) -> bool:
    """Whether somebody waits for a lock in this database."""
    rows = await school.rows(
        "SELECT count(*) AS n FROM pg_locks JOIN pg_stat_activity USING (pid) "
        "WHERE datname = current_database() AND NOT granted"
    )
    return bool(rows[0]["n"])


async def until_it_waits(school: School) -> None:
    await until(lambda: waits(school), what="somebody waits for the row")


async def test_the_last_two_steps_at_once_complete_it_once(school: School) -> None:
    steps = tuple(f"Step {n}" for n in range(6))
    await school.hear(curriculum((Project(title="All", steps=steps),)))
    for _ in range(5):
        buyer = Buyer()
        await school.hear(buyer.paid())
        answers = await asyncio.gather(*(school.done(buyer, step) for step in await school.steps(buyer) * 2))
        assert {answer.status_code for answer in answers} == {200}
        assert await school.standing(buyer) == ("completed", None)
        assert await school.said(buyer.id) == ["1 activated", "2 completed"]


async def test_the_last_steps_of_a_project_at_once_open_the_next(school: School, student: Buyer) -> None:
    first, second, third = await school.steps(student)
    await asyncio.gather(school.done(student, first), school.done(student, second))
    progress = await school.progress(student)
    assert [project["status"] for project in progress["projects"]] == ["completed", "unlocked"]
    assert (await school.done(student, third)).json()["status"] == "completed"


async def test_a_mark_waits_for_the_refund_that_is_being_settled(school: School, student: Buyer) -> None:
    first, *_ = await school.steps(student)
    heard = envelope("evt_refund", student.refunded())
    async with school.database.transaction() as db:
        await handle(db, PAYMENTS, "enrollment", heard, now=AT)
        marking = asyncio.create_task(school.done(student, first))
        await until_it_waits(school)
    answer = await marking
    assert (answer.status_code, answer.json()["code"]) == (409, "enrollment_not_active")
    assert (await school.progress(student))["percent"] == 0


@pytest.mark.parametrize("refund", [1, 99_900], ids=["in part", "in full"])
async def test_a_refund_waits_for_the_mark_that_completes(
    school: School, student: Buyer, api_database: Database, refund: int
) -> None:
    """And then sees what it has done: a row that was read before the wait would open the enrollment again."""
    *others, last = await school.steps(student)
    for step in others:
        await school.done(student, step)
    async with api_database.transaction_of(student_id=student.id, role="student") as db:
        uow = UnitOfWork(db=db, source="enrollment", now=AT)
        assert isinstance(await progress_repository.mark_done(uow, student.enrollment_id, UUID(last)), Marked)
        settling = asyncio.create_task(
            deliver(school.database, PAYMENTS, "enrollment", envelope("evt_refund", student.refunded(refund)))
        )
        if refund > 1:  # a refund in part changes nothing, so it has nothing to wait for
            await until_it_waits(school)
    await settling
    if refund == 1:
        assert await school.standing(student) == ("completed", None)
        assert await school.said(student.id) == ["1 activated", "2 completed"]
    else:
        assert await school.standing(student) == ("withdrawn", "refunded")
        assert await school.said(student.id) == ["1 activated", "2 completed", "3 withdrawn"]


async def test_marks_and_refunds_at_once_leave_no_enrollment_and_no_gap_in_what_is_said(school: School) -> None:
    await school.hear(curriculum())
    for _ in range(12):
        buyer = Buyer()
        await school.hear(buyer.paid())
        first, second, third = await school.steps(buyer)
        await school.done(buyer, first)
        await school.done(buyer, second)
        together: list[Awaitable[object]] = [school.done(buyer, third), school.hear(buyer.paid(), buyer.refunded())]
        await asyncio.gather(*together)
        assert await school.standing(buyer) == ("withdrawn", "refunded")
        said = await school.said(buyer.id)
        assert said in (["1 activated", "2 completed", "3 withdrawn"], ["1 activated", "2 withdrawn"])
        assert (await school.enrollment(buyer.id, buyer.program.slug))["revision"] == len(said)


async def test_a_payment_that_is_being_committed_is_not_missed_by_the_curriculum(school: School) -> None:
    buyer = Buyer()
    heard = envelope("evt_paid", buyer.paid())
    async with school.database.transaction() as db:
        await handle(db, PAYMENTS, "enrollment", heard, now=AT)
        learning = asyncio.create_task(school.hear(curriculum()))
        await until_it_waits(school)
        assert await db.scalar(text("SELECT count(*) FROM project_progress")) == 0
    await learning
    assert len((await school.progress(buyer))["projects"]) == 2
