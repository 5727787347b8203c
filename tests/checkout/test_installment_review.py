"""Regressions: amounts that were charged although they should not be, or not collected although they were owed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.checkout.installment_steps import EACH, FIRST, School

from checkout.stripe_client import StripeUnavailable

SCHEDULES = "/api/admin/payments/schedules"


async def rest(school: School, enrollment: object) -> Any:
    answer = await school.call("POST", f"/api/enrollments/{enrollment}/pay-remaining")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def record(school: School, id: object, method: str = "cash") -> None:
    body = {"payment_method": method, "transaction_reference": f"R-{uuid4()}", "notes": None}
    answer = await school.admin("POST", f"{SCHEDULES}/{id}/record-payment", json=body)
    assert answer.status_code == 200, answer.text


async def test_a_skipped_first_installment_is_collected(school: School) -> None:
    """The school has waived another one, which opens the enrollment: the payer has no reason to come back for it."""
    enrollment = await school.enrolled()
    await record(school, enrollment["schedules"][1]["id"], "waiver")
    await school.run_due()
    assert (await school.statuses())[:2] == ["open", "waived"]
    await school.later(days=1)
    (failure,) = await school.failures()
    assert (failure["code"], failure["refs"]["installment"].split(":")[0]) == (
        "no_payment_method",
        enrollment["schedules"][0]["id"],
    )


async def test_the_first_installment_is_paid_first(school: School) -> None:
    """Less than it opens no enrollment, and the payment method is saved with it."""
    enrollment = await school.enrolled()
    answer = await school.call("POST", f"/api/payments/schedules/{enrollment['schedules'][1]['id']}/intent")
    assert (answer.status_code, answer.json()["code"]) == (409, "first_installment_due")
    await school.pay(enrollment["stripe_client_secret"])
    await school.deliver()
    answer = await school.call("POST", f"/api/payments/schedules/{enrollment['schedules'][1]['id']}/intent")
    assert answer.status_code == 200, answer.text


async def test_a_remainder_whose_debit_failed_is_not_retried(school: School) -> None:
    enrollment = await school.started()
    whole = await rest(school, enrollment["purchase_id"])
    await school.pay(whole["stripe_client_secret"], method="us_bank_account")
    await school.deliver()
    assert (await school.statuses())[-1] == "processing"
    await school.sandbox.operate(f"/payment_intents/{whole['payment_intent_id']}/fail")
    await school.run_due()
    (failure,) = await school.failures()
    assert (failure["code"], failure["final"], failure.get("next_attempt_at")) == ("insufficient_funds", False, None)
    for days in (1, 2, 4, 8):
        await school.later(days=days)
    assert await school.charges() == FIRST
    assert await school.statuses() == ["paid"] + ["open"] * 6
    await school.later(days=17)
    assert await school.charges() == FIRST + EACH
    assert await school.standing() == ("active", None)


async def test_a_reopened_remainder_is_not_charged(school: School) -> None:
    enrollment = await school.started()
    await rest(school, enrollment["purchase_id"])
    (payment,) = await school.service.rows(
        "SELECT id FROM payments WHERE student_id = :s AND status = 'succeeded'", s=school.student
    )
    await school.admin("POST", f"/api/payments/{payment['id']}/refund", json={"reason": "goodwill"})
    await school.run_due()
    assert set((await school.statuses())[1:]) == {"canceled"}
    (refund,) = await school.service.rows("SELECT * FROM refunds WHERE student_id = :s", s=school.student)
    await school.sandbox.operate(f"/refunds/{refund['stripe_refund_id']}/fail")
    await school.run_due()
    await school.later(days=2)
    assert [row["next_attempt_at"] for row in await school.installments() if row["kind"] == "remainder"] == [None]
    assert "paid" not in (await school.statuses())[1:]


async def test_a_remainder_cannot_be_paused_or_resumed(school: School) -> None:
    enrollment = await school.started()
    whole = await rest(school, enrollment["purchase_id"])
    answer = await school.admin("POST", f"{SCHEDULES}/{whole['installment_id']}/pause")
    assert (answer.status_code, answer.json()["code"]) == (409, "installment_closed")
    await school.admin("POST", f"{SCHEDULES}/{whole['installment_id']}/resume")
    await school.run_due()
    assert await school.charges() == FIRST


@pytest.mark.parametrize("paused", [False, True])
async def test_a_due_date_changed_while_the_charge_was_waiting(school: School, paused: bool) -> None:
    """Its timer fired while Stripe was unavailable; the job of the old date is void."""
    enrollment = await school.started()
    await school.clock.advance(timedelta(days=31))
    await school.timer.sweep()
    path = f"{SCHEDULES}/{enrollment['schedules'][1]['id']}"
    if paused:
        await school.admin("POST", f"{path}/pause")
    due_at = await school.clock.now() + timedelta(days=20)
    assert (await school.admin("PATCH", path, json={"due_at": due_at.isoformat()})).status_code == 200
    if paused:
        await school.admin("POST", f"{path}/resume")
    await school.run_due()
    assert await school.charges() == FIRST
    await school.later(days=21)
    assert (await school.statuses())[1] == "paid"
    assert await school.charges() == FIRST + EACH


async def test_an_enrollment_waits_for_its_changed_first_due_date(school: School) -> None:
    enrollment = await school.enrolled()
    path = f"{SCHEDULES}/{enrollment['schedules'][0]['id']}"
    due_at = await school.clock.now() + timedelta(days=20)
    assert (await school.admin("PATCH", path, json={"due_at": due_at.isoformat()})).status_code == 200
    await school.later(days=15)
    assert await school.state() == "awaiting_payment"
    await school.later(days=15)
    assert await school.state() == "expired"


@pytest.mark.parametrize("due_at", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "9999-12-31T23:59:59Z"])
async def test_extreme_due_dates(school: School, due_at: str) -> None:
    enrollment = await school.started()
    answer = await school.admin("PATCH", f"{SCHEDULES}/{enrollment['schedules'][1]['id']}", json={"due_at": due_at})
    assert answer.status_code == 422, answer.text
    for name in ("due_from", "due_to"):
        answer = await school.admin("GET", SCHEDULES, params={name: due_at})
        assert answer.status_code in (200, 422), answer.text


@pytest.mark.parametrize("text", ['"a\\u0000b"', '"a\\ud800b"'])
async def test_texts_that_cannot_be_stored(school: School, text: str) -> None:
    enrollment = await school.started()
    record_path = f"{SCHEDULES}/{enrollment['schedules'][1]['id']}/record-payment"
    cases = [
        (record_path, '{"payment_method": "cash", "transaction_reference": %s}'),
        (record_path, '{"payment_method": "cash", "transaction_reference": "x", "notes": %s}'),
        (f"/api/admin/enrollments/{enrollment['purchase_id']}/cancel", '{"reason": %s}'),
        ("/api/enrollments", '{"user_id": "' + str(school.student) + '", "product_id": %s}'),
        ("/api/enrollments", '{"user_id": "' + str(school.student) + '", "product_id": "dsp", "promotion_code": %s}'),
        ("/api/enrollments", '{"user_id": "' + str(school.student) + '", "product_id": "dsp", "funding_source": %s}'),
    ]
    for path, body in cases:
        who = "student" if path == "/api/enrollments" and "funding" not in body else "admin"
        answer = await school.call("POST", path, role=who, raw=body % text)
        assert answer.status_code in (404, 409, 422), (path, body, answer.status_code, answer.text)
    for query in ("product=a%00b", "plan=a%00b", "product=%ED%A0%80", "cursor=a%00b"):
        answer = await school.call("GET", f"/api/purchases?{query}")
        assert answer.status_code in (200, 400, 422), (query, answer.text)


async def totals(school: School) -> dict[str, int]:
    answer = await school.admin("GET", f"{SCHEDULES}/statistics")
    (usd,) = [each for each in answer.json()["items"] if each["currency"] == "usd"]
    return {name: usd[name]["amount"] for name in ("due", "overdue", "processing", "paid", "waived", "canceled")}


async def test_statistics_of_a_remainder(school: School) -> None:
    """What was paid or waived as the remainder is counted once, and none of it as canceled."""
    enrollment = await school.started()
    before = await totals(school)
    whole = await rest(school, enrollment["purchase_id"])
    assert await totals(school) == before
    await record(school, whole["installment_id"], "waiver")
    await school.deliver()
    after = await totals(school)
    assert after["waived"] - before["waived"] == 5 * EACH
    assert before["due"] - after["due"] == 5 * EACH
    assert after["canceled"] == before["canceled"]


async def test_statistics_of_a_remainder_in_progress(school: School) -> None:
    enrollment = await school.started()
    before = await totals(school)
    whole = await rest(school, enrollment["purchase_id"])
    await school.pay(whole["stripe_client_secret"], method="us_bank_account")
    await school.deliver()
    after = await totals(school)
    assert sum(after.values()) == sum(before.values())


async def test_a_cancellation_counts_a_manual_payment_made_just_before(school: School) -> None:
    """Its event has not arrived yet: the refund is decided with it, not made in full automatically."""
    enrollment = await school.enrolled()
    await record(school, enrollment["schedules"][0]["id"])
    path = f"/api/admin/enrollments/{enrollment['purchase_id']}/cancel"
    early = await school.admin("POST", path, json={"reason": "moved away", "refund_amount": 0})
    assert (early.status_code, early.json()["code"]) == (409, "payment_in_progress")
    await school.deliver()
    answer = await school.admin("POST", path, json={"reason": "moved away", "refund_amount": 0})
    assert (answer.json()["paid"], answer.json()["refunded"]) == (FIRST, 0)
    await school.run_due()
    assert await school.service.rows("SELECT * FROM refunds WHERE student_id = :s", s=school.student) == []


async def test_an_invoice_is_finalized_after_that_was_interrupted(
    school: School, monkeypatch: pytest.MonkeyPatch
) -> None:
    await school.started()
    invoices = type(school.service.stripe._api.v1.invoices)
    finalize, calls = invoices.finalize_invoice_async, []

    async def cut_off(self: Any, invoice: str, *args: Any, **named: Any) -> Any:
        calls.append(invoice)
        if len(calls) == 1:
            raise StripeUnavailable("cut off")
        return await finalize(self, invoice, *args, **named)

    monkeypatch.setattr(invoices, "finalize_invoice_async", cut_off)
    await school.later(days=31)
    assert len(calls) == 2
    assert len(set(calls)) == 1, "the draft that was stored"
    assert (await school.statuses())[1] == "paid"
    assert await school.charges() == FIRST + EACH


async def test_an_ended_invoice_is_not_handed_out_again(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remainder is requested along with an installment: Stripe remembers the abandoned invoice's key."""
    enrollment = await school.started()
    api, asked = school.app.state.stripe, []
    create = api.draft_invoice

    async def cross(**params: Any) -> Any:
        made = await create(**params)
        asked.append(params["key"])
        if len(asked) == 1:
            await rest(school, enrollment["purchase_id"])
        return made

    monkeypatch.setattr(api, "draft_invoice", cross)
    answer = await school.call("POST", f"/api/payments/schedules/{enrollment['schedules'][1]['id']}/intent")
    intent = await school.sandbox.api.payment_intents.retrieve_async(answer.json()["payment_intent_id"])
    assert intent.status == "requires_payment_method"


async def test_a_pause_outlives_a_failed_debit(school: School) -> None:
    """It can be paid while it is paused, and a failure of that payment does not resume it."""
    enrollment = await school.started()
    path = f"{SCHEDULES}/{enrollment['schedules'][1]['id']}"
    await school.later(days=20)
    await school.admin("POST", f"{path}/pause")
    answer = await school.call("POST", f"/api/payments/schedules/{enrollment['schedules'][1]['id']}/intent")
    await school.pay(answer.json()["stripe_client_secret"], method="us_bank_account")
    await school.later(days=12)
    rest_of_it = await school.call("POST", f"/api/enrollments/{enrollment['purchase_id']}/pay-remaining")
    by_hand = {"payment_method": "cash", "transaction_reference": "R-1", "notes": None}
    manual = await school.admin("POST", f"{path}/record-payment", json=by_hand)
    assert (rest_of_it.status_code, manual.status_code) == (409, 409)
    await school.sandbox.operate(f"/payment_intents/{answer.json()['payment_intent_id']}/fail")
    await school.run_due()
    await school.later(days=2)
    assert (await school.statuses())[1] == "paused"
    assert await school.charges() == FIRST


async def test_a_voided_invoice_is_not_listed(school: School) -> None:
    await school.started()
    for method in (await school.sandbox.api.customers.payment_methods.list_async(await school.customer())).data:
        await school.sandbox.api.payment_methods.detach_async(method.id)
    await school.later(days=31)
    due = (await school.installments())[1]
    invoice = await school.sandbox.api.invoices.retrieve_async(due["stripe_invoice_id"])
    assert due["pay_url"] == invoice.hosted_invoice_url
    answer = await school.call("POST", f"/api/payments/schedules/{due['id']}/intent")
    assert answer.json()["payment_intent_id"] == await school.intent_of(due), "the same invoice"
    await school.call("POST", f"/api/enrollments/{due['purchase_id']}/pay-remaining")
    due = (await school.installments())[1]
    assert due["pay_url"] == due["pay_page"] != invoice.hosted_invoice_url


async def test_a_partly_refunded_plan_continues(school: School) -> None:
    await school.started()
    (payment,) = await school.service.rows("SELECT id FROM payments WHERE student_id = :s", s=school.student)
    body = {"amount": 1000, "reason": "a day missed"}
    await school.admin("POST", f"/api/payments/{payment['id']}/refund", json=body)
    await school.run_due()
    await school.later(days=31)
    assert await school.charges() == FIRST + EACH - 1000


async def test_after_an_outage_one_installment_is_charged_a_day(school: School) -> None:
    """Nothing was collected for three months: three installments are due at once."""
    await school.started()
    await school.later(days=95)
    assert await school.charges() == FIRST + EACH
    for paid in (2, 3, 3):
        await school.later(days=1)
        assert await school.charges() == FIRST + paid * EACH
    assert await school.statuses() == ["paid"] * 4 + ["open"] * 2


async def test_several_months_at_once_and_a_failing_card(school: School) -> None:
    """Everything that fell due meanwhile is owed, and the enrollment resumes only with the last payment."""
    enrollment = await school.started()
    await school.fail_next(40)
    await school.later(days=95)
    for _ in range(12):
        await school.later(days=1)
    times = [row["charged_at"] for row in await school.installments() if row["charged_at"]]
    assert len(times) == 3
    for _ in range(12):
        await school.later(days=1)
    overdue = [row["status"] == "overdue" for row in await school.installments()]
    assert overdue[:4] == [False, True, True, True]
    await school.fail_next(0)
    for n in (1, 2, 3):
        assert await school.standing() == ("paused", "past_due")
        await record(school, enrollment["schedules"][n]["id"])
        await school.deliver()
    assert await school.standing() == ("active", None)
