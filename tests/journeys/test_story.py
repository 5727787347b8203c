"""`bursar timeline` of a purchase with a failed installment, a dispute and a refund fits one screen."""

from __future__ import annotations

import json
from typing import Any

from tests.journeys.harness import School, Student
from tests.journeys.test_operator_command import as_json, bursar
from tests.journeys.test_payment_flows import (
    DAY,
    advance,
    charge_attempted,
    confirm,
    intent,
    paid_installments,
    payment_of,
)
from tests.waiting import until

ROWS, COLUMNS = 40, 120
"""One screen."""


async def eventful(school: School) -> tuple[Student, str]:
    """A plan whose second installment fails, is paid late and refunded; its first one is disputed, and the dispute won.
    Returns the purchase's id and the intent of the first payment."""
    student = school.student()
    enrolled = await intent(student, "/api/enrollments", {"product_id": "dsp", "user_id": str(student.id)})
    await confirm(student, enrolled["stripe_client_secret"])
    await student.enrollment_becomes("active", "dsp")
    await paid_installments(student, "dsp", 1)
    (method,) = (await student.get("checkout", "/api/payments/methods"))["items"]
    await school.http.delete(
        school.stack.url("checkout") + f"/api/payments/methods/{method['id']}", headers=student.headers
    )
    for attempt, days in enumerate((31, 1), 1):
        await advance(school, days * DAY)
        await charge_attempted(student, "dsp", attempt)
    due = next(
        each for each in (await payment_of(student, "dsp"))["schedules"] if each["status"] not in ("paid", "pending")
    )
    late = await intent(student, f"/api/payments/schedules/{due['id']}/intent", {})
    paid = await confirm(student, late["stripe_client_secret"])
    await paid_installments(student, "dsp", 2)
    first = enrolled["stripe_client_secret"].partition("_secret_")[0]
    dispute = await school.stripe(f"/charges/{await charge_of(school, first)}/dispute", {})
    await school.stripe(f"/disputes/{dispute['id']}/close", {"status": "won"})
    intent_of_second = paid.get("payment_intent") or late["stripe_client_secret"].partition("_secret_")[0]
    await school.stripe(f"/charges/{await charge_of(school, intent_of_second)}/refund", {})
    return student, first


async def charge_of(school: School, intent_id: str) -> str:
    return str((await school.stripe_api(f"/payment_intents/{intent_id}"))["latest_charge"])


async def test_a_purchase_with_a_failure_a_dispute_and_a_refund_fits_one_screen(school: School) -> None:
    student, first = await eventful(school)
    happened = (
        "purchase created",
        "payment of",
        "enrollment activated",
        "instructor assigned",
        "receipt",
        "failed",
        "dispute of",
        "closed: won",
        "refunded",
        "mail welcome sent",
    )

    async def complete() -> str | None:
        code, output = await bursar(school.stack, "timeline", first, columns=COLUMNS)
        return output if code == 0 and all(words in output for words in happened) else None

    printed = await until(complete, seconds=40, what="the timeline")
    assert len(printed.splitlines()) <= ROWS, printed
    assert max(map(len, printed.splitlines())) <= COLUMNS
    assert printed.index("failed") < printed.index("dispute of") < printed.index("refunded")

    purchase: dict[str, Any] = await as_json(school.stack, "timeline", first)
    by_address = await as_json(school.stack, "timeline", str(student.person.email))
    by_student = await as_json(school.stack, "timeline", str(student.id))
    assert purchase["purchase_id"] == by_address["purchase_id"] == by_student["purchase_id"]
    assert str(student.person.email) not in json.dumps(purchase) + printed
    for log in (school.stack.folder / "logs").glob("*.log"):
        assert str(student.person.email) not in log.read_text(), log.name
