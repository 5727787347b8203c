"""A plan that is refunded: all its installments go back, and nothing more is charged, even after a late payment."""

from __future__ import annotations

from typing import Any

import httpx
from tests.checkout.installment_steps import EACH, FIRST, School
from tests.checkout.payment_steps import refused
from tests.checkout.service import ADMIN, bearer


async def _refund(school: School, position: int = 0, *, role: str = "student", **body: Any) -> httpx.Response:
    payments = await school.service.rows(
        "SELECT * FROM payments WHERE student_id = :student AND status = 'succeeded' ORDER BY created_at",
        student=school.student,
    )
    headers = bearer(role, school.student if role == "student" else ADMIN)
    path = f"/api/payments/{payments[position]['id']}/refund"
    return await school.service.call("POST", path, json={"reason": "moved", **body}, headers=headers)


async def _finish(school: School) -> None:
    for _ in range(2):
        await school.deliver()
        await school.perform()
    await school.deliver()


async def test_a_student_refunds_a_started_plan_and_it_ends(school: School) -> None:
    await school.started()
    await school.later(days=31)
    assert await school.charges() == FIRST + EACH
    for position, amount in ((0, FIRST), (1, EACH), (1, EACH - 1), (0, FIRST + EACH - 1)):
        answer = await _refund(school, position, amount=amount)
        refused(answer, 403, "partial_refund_needs_admin")
    answer = await _refund(school, 1)
    assert answer.status_code == 201, answer.text
    assert sorted(each["amount"] for each in answer.json()["refunds"]) == [EACH, FIRST]
    assert await school.state() == "canceled", "the timer sees it at once"
    await school.later(days=62)
    await _finish(school)
    assert await school.charges() == 0
    assert await school.standing() == ("withdrawn", "refunded")
    assert set((await school.statuses())[2:]) == {"canceled"}
    await school.later(days=200)
    assert await school.charges() == 0


async def test_a_debit_of_an_installment_that_settles_after_the_refund_is_sent_back(school: School) -> None:
    """It neither opens the enrollment nor starts the plan again."""
    await school.started()
    second = (await school.installments())[1]
    answer = await school.call("POST", f"/api/payments/schedules/{second['id']}/intent")
    assert answer.status_code in (200, 201), answer.text
    intent = await school.pay(answer.json()["stripe_client_secret"], method="us_bank_account")
    await school.deliver()
    assert (await school.statuses())[1] == "processing"
    refused(await _refund(school), 409, "payment_processing")
    answer = await _refund(school, role="admin")
    assert (answer.status_code, answer.json()["purchase_ended"]) == (201, True)
    await _finish(school)
    assert await school.charges() == 0

    await school.sandbox.operate(f"/payment_intents/{intent['id']}/settle")
    await _finish(school)
    assert (await school.standing())[0] == "withdrawn"
    assert await school.charges() == 0, "sent back"
    for _ in range(6):
        await school.later(days=31)
    assert await school.charges() == 0
    assert "open" not in await school.statuses()
