"""Concurrent actions on one installment, and lost responses: it is paid once."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from tests.checkout.installment_steps import DAY, EACH, FIRST, School

from contracts.envelope import Envelope


async def record(school: School, id: object, reference: str = "R-1") -> Any:
    body = {"payment_method": "cash", "transaction_reference": reference, "notes": None}
    return await school.admin("POST", f"/api/admin/payments/schedules/{id}/record-payment", json=body)


@pytest.mark.parametrize("delay", [0, 0.02, 0.05, 0.1])
async def test_the_timer_and_a_manual_payment(school: School, delay: float) -> None:
    enrollment = await school.started()
    await school.clock.advance(31 * DAY)
    await school.timer.sweep()

    async def front_office() -> Any:
        await asyncio.sleep(delay)
        return await record(school, enrollment["schedules"][1]["id"])

    answer, _ = await asyncio.gather(front_office(), school.perform())
    await school.deliver()
    await school.run_due()
    by_hand = EACH if answer.status_code == 200 else 0
    assert await school.charges() + by_hand == FIRST + EACH, answer.text
    assert (await school.statuses())[:3] == ["paid", "paid", "open"]


@pytest.mark.parametrize("delay", [0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08])
async def test_the_timer_and_the_remainder(school: School, delay: float) -> None:
    enrollment = await school.started()
    await school.clock.advance(31 * DAY)
    await school.timer.sweep()

    async def student() -> Any:
        await asyncio.sleep(delay)
        answer = await school.call("POST", f"/api/enrollments/{enrollment['purchase_id']}/pay-remaining")
        if answer.status_code == 200:
            path = f"/payment_intents/{answer.json()['payment_intent_id']}/pay"
            await asyncio.sleep(0.05)
            intent = await school.sandbox.api.payment_intents.retrieve_async(answer.json()["payment_intent_id"])
            if intent.status == "requires_payment_method":
                await school.sandbox.operate(path)
        return answer

    await asyncio.gather(student(), school.perform(), return_exceptions=True)
    await school.deliver()
    await school.run_due()
    answer = await school.call("POST", f"/api/enrollments/{enrollment['purchase_id']}/pay-remaining")
    if answer.status_code == 200:
        await school.pay(answer.json()["stripe_client_secret"])
        await school.run_due()
    assert await school.charges() == 489_000
    assert await school.standing() == ("active", None)


@pytest.mark.parametrize("lost", [1, 3, 5, 8])
async def test_lost_responses(school: School, lost: int) -> None:
    await school.started()
    await school.clock.advance(31 * DAY)
    await school.timer.sweep()
    await school.sandbox.faults(lose_answers=lost)
    for _ in range(5):
        await school.perform()
    await school.sandbox.faults()
    await school.deliver()
    assert await school.charges() == FIRST + EACH
    assert (await school.statuses())[1] == "paid"


async def test_a_failed_first_debit_ends_the_enrollment_and_a_new_one_can_start(school: School) -> None:
    enrollment = await school.enrolled()
    intent = await school.pay(enrollment["stripe_client_secret"], method="us_bank_account")
    await school.deliver()
    await school.sandbox.operate(f"/payment_intents/{intent['id']}/fail")
    await school.run_due()
    assert await school.state() == "failed"
    assert set(await school.statuses()) == {"canceled"}
    assert (await school.sandbox.api.payment_intents.retrieve_async(intent["id"])).status == "canceled"
    again = await school.enrolled()
    assert again["purchase_id"] != enrollment["purchase_id"]


async def test_a_full_refund_closes_open_installments(school: School) -> None:
    await school.started()
    (payment,) = await school.service.rows("SELECT id FROM payments WHERE student_id = :s", s=school.student)
    answer = await school.admin("POST", f"/api/payments/{payment['id']}/refund", json={"reason": "goodwill"})
    assert answer.status_code < 300, answer.text
    await school.run_due()
    assert await school.state() == "canceled"
    assert await school.statuses() == ["paid"] + ["canceled"] * 5
    await school.later(days=62)
    assert await school.charges() == 0


async def test_a_failed_refund_starts_no_charge_again(school: School) -> None:
    await school.started()
    (payment,) = await school.service.rows("SELECT id FROM payments WHERE student_id = :s", s=school.student)
    await school.admin("POST", f"/api/payments/{payment['id']}/refund", json={"reason": "goodwill"})
    await school.run_due()
    (refund,) = await school.service.rows("SELECT * FROM refunds WHERE student_id = :s", s=school.student)
    await school.sandbox.operate(f"/refunds/{refund['stripe_refund_id']}/fail")
    await school.run_due()
    assert await school.statuses() == ["paid"] + ["canceled"] * 5
    await school.later(days=62)
    assert await school.charges() == FIRST


async def _all_events(school: School) -> list[Envelope[Any]]:
    events = await school.sandbox.gateway_events()
    return [each for each in events if each.data.student_id == school.student] + await school.own()


async def _reset(school: School) -> None:
    """Resets the rows to before the first event, but keeps the requests made at Stripe."""
    purchase = (await school.service.purchase(school.student))["id"]
    for statement in (
        "UPDATE installments SET status = 'open', paid_at = NULL, failure_code = NULL WHERE purchase_id = :id",
        "UPDATE purchases SET state = 'awaiting_payment' WHERE id = :id",
        "DELETE FROM inbox WHERE :id IS NOT NULL",
        "DELETE FROM fact_keys WHERE :id IS NOT NULL",
        "DELETE FROM facts WHERE :id IS NOT NULL",
    ):
        typed = statement.replace(":id", "CAST(:id AS uuid)")
        await school.service.rows(f"{typed} RETURNING 1", id=purchase)


async def test_the_same_events_in_any_order_end_in_the_same_rows(school: School) -> None:
    enrollment = await school.started()
    await school.fail_next(1)
    for days in (31, 1, 31):
        await school.later(days=days)
    await record(school, enrollment["schedules"][3]["id"])
    await school.deliver()
    columns = ("status", "round", "amount", "stripe_payment_intent_id")
    expected = [{name: row[name] for name in columns} for row in await school.installments()]
    assert [row["status"] for row in expected] == ["paid"] * 4 + ["open"] * 2
    events = await _all_events(school)
    shuffle = random.Random(7)
    for _ in range(6):
        await _reset(school)
        order = events * 2
        shuffle.shuffle(order)
        await school.service.deliver(*order)
        assert [{name: row[name] for name in columns} for row in await school.installments()] == expected
        assert await school.state() == "paid"
