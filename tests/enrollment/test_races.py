"""Students and payments change the same enrollment concurrently, on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from uuid import UUID

import pytest
from sqlalchemy import text
from tests.deliveries import AT, deliver, envelope, handle
from tests.enrollment.harness import PAYMENTS, Buyer, Service, curriculum
from tests.waiting import until

from contracts.checkout import Project
from enrollment import progress_repository
from enrollment.progress import Marked
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork


@pytest.fixture
async def student(service: Service) -> Buyer:
    buyer = Buyer()
    await service.deliver(curriculum(), buyer.paid())
    return buyer


async def waits(service: Service) -> bool:
    """Whether a transaction is waiting for a lock in this database."""
    rows = await service.rows(
        "SELECT count(*) AS n FROM pg_locks JOIN pg_stat_activity USING (pid) "
        "WHERE datname = current_database() AND NOT granted"
    )
    return bool(rows[0]["n"])


async def until_it_waits(service: Service) -> None:
    await until(lambda: waits(service), what="somebody waits for the row")


async def test_concurrent_last_steps_complete_the_enrollment_once(service: Service) -> None:
    steps = tuple(f"Step {n}" for n in range(6))
    await service.deliver(curriculum((Project(title="All", steps=steps),)))
    for _ in range(5):
        buyer = Buyer()
        await service.deliver(buyer.paid())
        answers = await asyncio.gather(*(service.done(buyer, step) for step in await service.steps(buyer) * 2))
        assert {answer.status_code for answer in answers} == {200}
        assert await service.standing(buyer) == ("completed", None)
        assert await service.published(buyer.id) == ["1 activated", "2 completed"]


async def test_concurrent_last_steps_of_a_project_unlock_the_next(service: Service, student: Buyer) -> None:
    first, second, third = await service.steps(student)
    await asyncio.gather(service.done(student, first), service.done(student, second))
    progress = await service.progress(student)
    assert [project["status"] for project in progress["projects"]] == ["completed", "unlocked"]
    assert (await service.done(student, third)).json()["status"] == "completed"


async def test_a_mark_waits_for_an_uncommitted_refund(service: Service, student: Buyer) -> None:
    first, *_ = await service.steps(student)
    refund = envelope("evt_refund", student.refunded())
    async with service.database.transaction() as db:
        await handle(db, PAYMENTS, "enrollment", refund, now=AT)
        marking = asyncio.create_task(service.done(student, first))
        await until_it_waits(service)
    answer = await marking
    assert (answer.status_code, answer.json()["code"]) == (409, "enrollment_not_active")
    assert (await service.progress(student))["percent"] == 0


@pytest.mark.parametrize("refund", [1, 99_900], ids=["in part", "in full"])
async def test_a_refund_waits_for_an_uncommitted_completion(
    service: Service, student: Buyer, api_database: Database, refund: int
) -> None:
    """And then uses the current row: one that was read before the wait would activate the enrollment again."""
    *others, last = await service.steps(student)
    for step in others:
        await service.done(student, step)
    async with api_database.transaction_of(student_id=student.id, role="student") as db:
        uow = UnitOfWork(db=db, source="enrollment", now=AT)
        assert isinstance(await progress_repository.mark_done(uow, student.enrollment_id, UUID(last)), Marked)
        settling = asyncio.create_task(
            deliver(service.database, PAYMENTS, "enrollment", envelope("evt_refund", student.refunded(refund)))
        )
        if refund > 1:  # a refund in part changes nothing, so it has nothing to wait for
            await until_it_waits(service)
    await settling
    if refund == 1:
        assert await service.standing(student) == ("completed", None)
        assert await service.published(student.id) == ["1 activated", "2 completed"]
    else:
        assert await service.standing(student) == ("withdrawn", "refunded")
        assert await service.published(student.id) == ["1 activated", "2 completed", "3 withdrawn"]


async def test_concurrent_marks_and_refunds_leave_no_enrollment_and_no_gap_in_the_revisions(service: Service) -> None:
    await service.deliver(curriculum())
    for _ in range(12):
        buyer = Buyer()
        await service.deliver(buyer.paid())
        first, second, third = await service.steps(buyer)
        await service.done(buyer, first)
        await service.done(buyer, second)
        together: list[Awaitable[object]] = [
            service.done(buyer, third),
            service.deliver(buyer.paid(), buyer.refunded()),
        ]
        await asyncio.gather(*together)
        assert await service.standing(buyer) == ("withdrawn", "refunded")
        published = await service.published(buyer.id)
        assert published in (["1 activated", "2 completed", "3 withdrawn"], ["1 activated", "2 withdrawn"])
        assert (await service.enrollment(buyer.id, buyer.program.slug))["revision"] == len(published)


async def test_a_curriculum_does_not_miss_an_uncommitted_payment(service: Service) -> None:
    buyer = Buyer()
    payment = envelope("evt_paid", buyer.paid())
    async with service.database.transaction() as db:
        await handle(db, PAYMENTS, "enrollment", payment, now=AT)
        learning = asyncio.create_task(service.deliver(curriculum()))
        await until_it_waits(service)
        assert await db.scalar(text("SELECT count(*) FROM project_progress")) == 0
    await learning
    assert len((await service.progress(buyer))["projects"]) == 2
