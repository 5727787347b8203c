"""A service has lost an event: it is asked for, published again by who has published it, and has its effect once."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import timedelta
from typing import Any

import aio_pika
from tests.journeys.harness import School, Student
from tests.journeys.test_operator_command import bursar
from tests.journeys.test_reconciliation import rows
from tests.waiting import until

from kit.db.database import Database
from ledger.policy import DEFAULT_POLICY
from reporting.invariant import Deadlines
from reporting.invariant_runs import Runner

AT_ONCE = Deadlines(**{each.name: timedelta() for each in fields(Deadlines)})


async def verified(school: School, *arguments: str) -> list[dict[str, Any]]:
    _, output = await bursar(school.stack, "verify", *arguments, "--json")
    found: list[dict[str, Any]] = json.loads(output)["services"]["enrollment"]["differences"]
    return [each for each in found if each["table"] == "facts"]


async def test_a_deleted_fact_comes_back_without_an_operator(school: School) -> None:
    student = school.student()
    await student.buys()
    await student.mailed("receipt")
    enrollment = await student.enrollment_becomes("active")
    lost = await rows(
        school,
        "enrollment",
        "DELETE FROM facts WHERE type = 'payment.succeeded.v1' AND body::text LIKE '%' || $1 || '%' RETURNING event_id",
        str(enrollment["purchase_id"]),
    )
    ids = {row["event_id"] for row in lost}
    found = await verified(school, "--repair")
    assert {each["row"]: each["outcome"] for each in found} == dict.fromkeys(ids, "requested")
    repaired: set[str] = set()

    async def back() -> bool:
        repaired.update(each["row"] for each in await verified(school) if each["outcome"] == "repaired")
        return repaired == ids

    await until(back, seconds=60, what="the lost events")
    assert await verified(school) == []
    assert (await student.enrollment_becomes("active"))["id"] == enrollment["id"]


async def purged(school: School, queue: str) -> int:
    """How many messages the queue has lost."""
    connection = await aio_pika.connect(school.stack.amqp_url)
    async with connection:
        channel = await connection.channel()
        found = await channel.get_queue(queue, ensure=False)
        return (await found.purge()).message_count or 0


async def breaks_of(school: School, student: Student, *, repaired: bool = False) -> set[str]:
    """The parts, of a run without deadlines. The stack's own runs have some, and are rare."""
    database = Database(school.stack.databases["reporting"].url)
    runner = Runner(database=database, deadlines=AT_ONCE, policy=DEFAULT_POLICY, every_seconds=1)
    await until(runner.sweep, seconds=30, what="a run of the invariant")
    await database.close()
    condition = "ended_at IS NOT NULL AND requested_at IS NOT NULL" if repaired else "ended_at IS NULL"
    query = f"SELECT part FROM invariant_breaks WHERE student_id = $1 AND {condition}"
    return {each["part"] for each in await rows(school, "reporting", query, student.id)}


async def test_an_enrollment_whose_events_were_lost_follows_without_an_operator(school: School) -> None:
    student = school.student()
    process = school.stack.processes["enrollment"]
    process.stop()
    try:
        await student.buys()
        await student.mailed("receipt")
        assert await purged(school, "enrollment.payments") > 0
    finally:
        process.start()
        process.wait_ready(60)
    assert "enrolled" in await breaks_of(school, student)
    await student.enrollment_becomes("active")

    async def repaired() -> bool:
        return "enrolled" in await breaks_of(school, student, repaired=True)

    await until(repaired, seconds=60, what="the repaired break")
    assert "enrolled" not in await breaks_of(school, student)
