"""Collecting the installments of a plan, from the first to the last."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from tests.checkout.installment_steps import EACH, FIRST, NEEDS_ACTION, School

from contracts.payments import PaymentFailed, PaymentPending, PaymentRefs


async def test_six_installments_are_charged_to_the_first_ones_card(school: School) -> None:
    enrolled = await school.started()
    assert await school.statuses() == ["paid"] + ["open"] * 5
    assert await school.state() == "paid"
    for month in range(1, 6):
        await school.later(days=31)
        assert await school.statuses() == ["paid"] * (month + 1) + ["open"] * (5 - month)
    assert await school.charges() == FIRST + 5 * EACH == 489_000
    overview = await school.overview(enrolled["enrollment_id"])
    assert (overview["paid"], overview["due"], overview["next_due"]) == (489_000, 0, None)
    assert [each["status"] for each in overview["payments"]] == ["succeeded"] * 6
    assert await school.failures() == []
    await school.later(days=90)
    assert await school.charges() == 489_000


async def test_nothing_is_collected_before_its_due_date(school: School) -> None:
    await school.started()
    await school.later(days=25)
    assert await school.charges() == FIRST


async def test_a_failing_card_is_retried_after_1_3_and_7_days_then_the_enrollment_is_paused(
    school: School,
) -> None:
    await school.started()
    await school.fail_next(4)
    await school.later(days=31)
    assert await school.statuses() == ["paid"] + ["open"] * 5
    for days in (1, 2, 4):
        assert await school.standing() == ("active", None)
        await school.later(days=days)
    assert await school.statuses() == ["paid", "overdue"] + ["open"] * 4
    assert await school.standing() == ("paused", "past_due")
    failures = [each for each in await school.failures() if each["refs"]["installment"]]
    assert [each["attempt"] for each in failures] == [1, 2, 3, 4]
    assert [each["final"] for each in failures] == [False, False, False, True]
    assert {each["code"] for each in failures} == {"insufficient_funds"}
    assert {each["pay_url"] for each in failures} == {(await school.installments())[1]["pay_page"]}
    times = [datetime.fromisoformat(each["next_attempt_at"]) for each in failures[:3]]
    assert [(b - a).days for a, b in pairwise(times)] == [2, 4]
    assert "next_attempt_at" not in failures[3]
    assert len({each["refs"]["invoice"] for each in failures}) == 1, "every attempt charges the same invoice"

    # paid later with another card: the enrollment resumes
    overdue = (await school.installments())[1]
    answer = await school.call("POST", f"/api/payments/schedules/{overdue['id']}/intent")
    assert answer.status_code == 200, answer.text
    assert answer.json()["amount"] == EACH
    await school.pay(answer.json()["stripe_client_secret"])
    await school.deliver()
    assert await school.statuses() == ["paid", "paid"] + ["open"] * 4
    assert await school.standing() == ("active", None)
    assert await school.charges() == FIRST + EACH


async def test_a_card_that_recovers_is_charged_once(school: School) -> None:
    await school.started()
    await school.fail_next(2)
    await school.later(days=31)
    await school.later(days=1)
    await school.later(days=2)
    assert (await school.statuses())[:2] == ["paid", "paid"]
    assert await school.charges() == FIRST + EACH
    await school.later(days=10)
    assert await school.charges() == FIRST + EACH


async def test_authentication_required_by_the_bank_is_done_by_the_payer(school: School) -> None:
    enrolled = await school.enrolled()
    intent = await school.pay(enrolled["stripe_client_secret"], card=NEEDS_ACTION)
    await school.sandbox.operate(f"/payment_intents/{intent['id']}/authenticate", passed=True)
    await school.deliver()
    await school.later(days=31)
    (failure,) = await school.failures()
    assert (failure["code"], failure["final"]) == ("authentication_required", False)
    due = (await school.installments())[1]
    answer = await school.call("POST", f"/api/payments/schedules/{due['id']}/intent")
    await school.pay(answer.json()["stripe_client_secret"], card=NEEDS_ACTION)
    await school.sandbox.operate(f"/payment_intents/{answer.json()['payment_intent_id']}/authenticate", passed=True)
    await school.deliver()
    assert (await school.statuses())[:2] == ["paid", "paid"]
    await school.later(days=7)
    assert await school.charges() == FIRST + EACH


async def test_two_timers_at_once_charge_once(school: School) -> None:
    await school.started()
    await school.clock.advance(timedelta(days=31))
    await asyncio.gather(*(school.timer.sweep() for _ in range(8)))
    wanted = await school.service.rows("SELECT * FROM jobs WHERE kind = 'installment_collection'")
    due = (await school.installments())[1]
    assert len([each for each in wanted if each["payload"]["installment_id"] == str(due["id"])]) == 1
    await asyncio.gather(*(school.perform() for _ in range(3)))
    await school.deliver()
    assert (await school.statuses())[:3] == ["paid", "paid", "open"]
    assert await school.charges() == FIRST + EACH


async def test_two_loops_at_once_charge_once(school: School) -> None:
    await school.started()
    await school.clock.advance(timedelta(days=31))
    stop = asyncio.Event()
    loops = [asyncio.create_task(school.timer.run(stop)) for _ in range(2)]
    await asyncio.sleep(0.5)
    stop.set()
    await asyncio.gather(*loops)
    await school.perform()
    await school.deliver()
    assert await school.charges() == FIRST + EACH


async def test_an_outage_of_stripe_is_not_an_attempt(school: School) -> None:
    await school.started()
    await school.sandbox.faults(fail_requests=1000)
    await school.clock.advance(timedelta(days=31))
    await school.timer.sweep()
    await school.perform()
    due = (await school.installments())[1]
    assert (due["status"], due["attempts"]) == ("open", 0)
    await school.sandbox.faults()
    await school.perform()
    await school.deliver()
    assert (await school.statuses())[1] == "paid"


async def test_a_failed_bank_debit_is_an_attempt(school: School) -> None:
    enrolled = await school.enrolled()
    intent = await school.pay(enrolled["stripe_client_secret"], method="us_bank_account")
    await school.deliver()
    assert (await school.statuses())[0] == "processing"
    assert await school.state() == "processing"
    await school.later(days=31)
    assert (await school.statuses())[1] == "open", "nothing is charged before the first has settled"
    await school.sandbox.operate(f"/payment_intents/{intent['id']}/settle")
    await school.deliver()
    await school.run_due()
    assert (await school.statuses())[:2] == ["paid", "processing"]
    due = (await school.installments())[1]
    await school.later(days=5)
    await school.sandbox.operate(f"/payment_intents/{await school.intent_of(due)}/fail")
    await school.deliver()
    await school.run_due()
    due = (await school.installments())[1]
    assert (due["status"], due["attempts"], due["failure_code"]) == ("open", 1, "insufficient_funds")
    await school.later(days=1)
    due = (await school.installments())[1]
    assert due["status"] == "processing", [
        {k: str(due[k]) for k in ("attempts", "timers", "failure_code", "next_attempt_at", "failed_debits")},
        [(f["code"], f["attempt"]) for f in await school.failures()],
    ]
    await school.sandbox.operate(f"/payment_intents/{await school.intent_of(due)}/settle")
    await school.deliver()
    assert (await school.statuses())[:2] == ["paid", "paid"]


@pytest.mark.parametrize("reverse", [False, True])
async def test_why_a_debit_failed_does_not_depend_on_the_order_of_its_events(school: School, reverse: bool) -> None:
    await school.started()
    row = (await school.installments())[1]
    named: dict[str, Any] = {
        "refs": PaymentRefs(payment_intent=f"pi_{uuid4().hex}", installment=f"{row['id']}:1"),
        "purchase_id": row["purchase_id"],
        "student_id": school.student,
    }
    events = [PaymentPending(**named), PaymentFailed(**named, code="account_closed")]
    for event in reversed(events) if reverse else events:
        await school.service.publish(event)
    row = (await school.installments())[1]
    assert (row["status"], row["failed_debits"], row["failure_code"]) == ("open", 1, "account_closed")


async def test_without_a_saved_method_the_payer_is_asked_and_reminded(school: School) -> None:
    await school.started()
    customer = await school.customer()
    for method in (await school.sandbox.api.customers.payment_methods.list_async(customer)).data:
        await school.sandbox.api.payment_methods.detach_async(method.id)
    await school.later(days=31)
    due = (await school.installments())[1]
    invoice = await school.sandbox.api.invoices.retrieve_async(due["stripe_invoice_id"])
    assert (invoice.status, invoice.amount_due) == ("open", EACH)
    assert (invoice.collection_method, invoice.auto_advance) == ("charge_automatically", False)
    assert due["pay_url"] == invoice.hosted_invoice_url
    (failure,) = await school.failures()
    assert (failure["code"], failure["pay_url"], failure["final"]) == ("no_payment_method", due["pay_page"], False)
    await school.later(days=1)
    await school.later(days=2)
    await school.later(days=4)
    assert (await school.failures())[-1]["final"] is True
    assert await school.standing() == ("paused", "past_due")
    await school.sandbox.operate(f"/invoices/{invoice.id}/pay")
    await school.deliver()
    assert (await school.statuses())[:2] == ["paid", "paid"]
    assert await school.standing() == ("active", None)


async def test_a_payment_event_before_the_response_and_twice(school: School) -> None:
    await school.started()
    await school.clock.advance(timedelta(days=31))
    await school.timer.sweep()
    await school.perform()
    await school.deliver()
    before = await school.installments()
    await school.service.perform(school.student, "installment_collection")
    school._delivered.clear()
    await school.deliver()
    assert await school.installments() == before


async def test_an_unpaid_enrollment_expires(school: School) -> None:
    enrolled = await school.enrolled()
    await school.later(days=6)
    assert await school.state() == "awaiting_payment"
    await school.later(days=1, minutes=1)
    assert await school.state() == "expired"
    assert set(await school.statuses()) == {"canceled"}
    intent = await school.sandbox.api.payment_intents.retrieve_async(
        enrolled["stripe_client_secret"].split("_secret")[0]
    )
    assert intent.status == "canceled"
    again = await school.enrolled()
    assert again["purchase_id"] != enrolled["purchase_id"]
    assert again["enrollment_id"] == enrolled["enrollment_id"]


async def test_an_enrollment_without_a_response_is_resumed(school: School) -> None:
    await school.enrolled()
    await school.service.rows(
        "UPDATE purchases SET state = 'created', created_at = now() - interval '2 days'"
        " WHERE student_id = :s RETURNING id",
        s=school.student,
    )
    again = await school.enrolled()
    assert again["purchase_id"] == str((await school.service.purchase(school.student))["id"])
    await school.later(days=8)
    assert set(await school.statuses()) == {"canceled"}
    assert {row["state"] for row in await school.service.purchases(school.student)} == {"expired"}
