"""Aged receivables: every unpaid installment is in one line, by how long it is overdue."""

from __future__ import annotations

import csv
import io
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from tests.checkout.installment_steps import DAY, EACH, School

PATH = "/api/admin/receivables"


async def read(school: School) -> list[dict[str, Any]]:
    answer = await school.admin("GET", PATH)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def own(school: School) -> Counter[str]:
    """Amounts of this student's installments by age, from their rows."""
    rows = await school.service.rows(
        "SELECT amount, due_at FROM installments WHERE student_id = :id AND status = 'open'", id=school.student
    )
    now = await school.clock.now()
    return sum((Counter({age(now - row["due_at"]): row["amount"]}) for row in rows), Counter())


def age(overdue: timedelta) -> str:
    if overdue <= timedelta(0):
        return "not_due"
    days = [(30, "0_to_30"), (60, "31_to_60"), (90, "61_to_90")]
    return next((name for most, name in days if overdue <= most * DAY), "over_90")


def by_age(items: list[dict[str, Any]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for each in items:
        if (each["payer"], each["currency"]) == ("student", "usd"):
            found[each["age"]] += each["amount"]
    return found


async def test_an_installment_is_in_the_line_of_its_age(school: School) -> None:
    before = by_age(await read(school))
    await school.started()
    added = by_age(await read(school))
    added.subtract(before)
    assert +added == await own(school) == Counter({"not_due": 5 * EACH})


@pytest.mark.parametrize("days", [31, 100, 200])
async def test_time_moves_it_on(school: School, days: int) -> None:
    await school.started()
    await school.service.rows(
        "UPDATE installments SET status = 'canceled' WHERE student_id <> :id RETURNING 1", id=school.student
    )
    await school.admin("POST", "/api/admin/test-clock/advance", json={"seconds": days * 86_400})
    expected = await own(school)
    assert by_age(await read(school)) == expected
    assert len(expected) > 1 or days == 200


async def test_the_csv_has_the_same_lines(school: School) -> None:
    await school.started()
    answer = await school.admin("GET", f"{PATH}.csv")
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    items = await read(school)
    assert lines == [{name: "" if value is None else str(value) for name, value in each.items()} for each in items]
