"""A service has lost an event: it is asked for, published again by who has published it, and has its effect once."""

from __future__ import annotations

import json
from typing import Any

from tests.journeys.harness import School
from tests.journeys.test_operator_command import bursar
from tests.journeys.test_reconciliation import rows
from tests.waiting import until


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
