"""What was once charged when nobody wanted it, or not charged though it was owed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.checkout.schedule_steps import EACH, FIRST, School

from checkout.stripe_client import StripeAway

SCHEDULES = "/api/admin/payments/schedules"


async def rest(school: School, enrollment: object) -> Any:
    answer = await school.call("POST", f"/api/enrollments/{enrollment}/pay-remaining")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def record(school: School, id: object, method: str = "cash") -> None:
    body = {"payment_method": method, "transaction_reference": f"R-{uuid4()}", "notes": None}
    answer = await school.admin("POST", f"{SCHEDULES}/{id}/record-payment", json=body)
    assert answer.status_code == 200, answer.text


async def test_a_first_amount_that_was_passed_over_is_collected_after_all(school: School) -> None:
    """The enrollment opens with any of them, so nobody comes back for the first one."""
    told = await school.enrolled()
    second = await school.call("POST", f"/api/payments/schedules/{told['schedules'][1]['id']}/intent")
    await school.pay(second.json()["stripe_client_secret"])
    await school.uow()
    assert (await school.statuses())[:2] == ["open", "paid"]
    await school.later(days=1)
    assert (await school.statuses())[:2] == ["paid", "paid"]
    assert await school.charges() == FIRST + EACH


async def test_a_rest_whose_debit_fails_is_not_tried_by_itself(school: School) -> None:
    told = await school.begun()
    whole = await rest(school, told["purchase_id"])
    await school.pay(whole["stripe_client_secret"], method="us_bank_account")
    await school.hear()
    assert (await school.statuses())[-1] == "processing"
    await school.sandbox.operate(f"/payment_intents/{whole['payment_intent_id']}/fail")
    await school.uow()
    (failure,) = await school.failures()
    assert (failure["code"], failure["final"], failure.get("next_attempt_at")) == ("debit_failed", False, None)
    for days in (1, 2, 4, 8):
        await school.later(days=days)
    assert await school.charges() == FIRST
    assert await school.statuses() == ["paid"] + ["open"] * 6
    await school.later(days=17)
    assert await school.charges() == FIRST + EACH
    assert await school.standing() == ("active", None)


async def test_a_rest_that_comes_back_with_its_purchase_is_not_charged_by_itself(school: School) -> None:
    told = await school.begun()
    await rest(school, told["purchase_id"])
    (payment,) = await school.service.rows(
        "SELECT id FROM payments WHERE student_id = :s AND status = 'succeeded'", s=school.student
    )
    await school.admin("POST", f"/api/payments/{payment['id']}/refund", json={"reason": "goodwill"})
    await school.uow()
    assert set((await school.statuses())[1:]) == {"canceled"}
    (refund,) = await school.service.rows("SELECT * FROM refunds WHERE student_id = :s", s=school.student)
    await school.sandbox.operate(f"/refunds/{refund['stripe_refund_id']}/fail")
    await school.uow()
    await school.later(days=2)
    assert [row["next_attempt_at"] for row in await school.dues() if row["kind"] == "remainder"] == [None]
    assert "paid" not in (await school.statuses())[1:]


async def test_a_rest_is_not_paused_and_so_never_resumed(school: School) -> None:
    told = await school.begun()
    whole = await rest(school, told["purchase_id"])
    answer = await school.admin("POST", f"{SCHEDULES}/{whole['schedule_id']}/pause")
    assert (answer.status_code, answer.json()["code"]) == (409, "schedule_closed")
    await school.admin("POST", f"{SCHEDULES}/{whole['schedule_id']}/resume")
    await school.uow()
    assert await school.charges() == FIRST


@pytest.mark.parametrize("paused", [False, True])
async def test_a_date_moved_while_the_charge_was_waiting(school: School, paused: bool) -> None:
    """Its timer has run out, but Stripe was away: what was wanted then is wanted no more."""
    told = await school.begun()
    await school.clock.advance(timedelta(days=31))
    await school.timer.sweep()
    path = f"{SCHEDULES}/{told['schedules'][1]['id']}"
    if paused:
        await school.admin("POST", f"{path}/pause")
    due_at = await school.clock.now() + timedelta(days=20)
    assert (await school.admin("PATCH", path, json={"due_at": due_at.isoformat()})).status_code == 200
    if paused:
        await school.admin("POST", f"{path}/resume")
    await school.uow()
    assert await school.charges() == FIRST
    await school.later(days=21)
    assert (await school.statuses())[1] == "paid"
    assert await school.charges() == FIRST + EACH


async def test_an_enrollment_whose_first_date_is_moved_waits_for_it(school: School) -> None:
    told = await school.enrolled()
    path = f"{SCHEDULES}/{told['schedules'][0]['id']}"
    due_at = await school.clock.now() + timedelta(days=20)
    assert (await school.admin("PATCH", path, json={"due_at": due_at.isoformat()})).status_code == 200
    await school.later(days=15)
    assert await school.state() == "awaiting_payment"
    await school.later(days=15)
    assert await school.state() == "expired"


@pytest.mark.parametrize("due_at", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "9999-12-31T23:59:59Z"])
async def test_days_at_the_end_of_time(school: School, due_at: str) -> None:
    told = await school.begun()
    answer = await school.admin("PATCH", f"{SCHEDULES}/{told['schedules'][1]['id']}", json={"due_at": due_at})
    assert answer.status_code == 422, answer.text
    for name in ("due_from", "due_to"):
        answer = await school.admin("GET", SCHEDULES, params={name: due_at})
        assert answer.status_code in (200, 422), answer.text


@pytest.mark.parametrize("text", ['"a\\u0000b"', '"a\\ud800b"'])
async def test_texts_that_cannot_be_kept(school: School, text: str) -> None:
    told = await school.begun()
    record_path = f"{SCHEDULES}/{told['schedules'][1]['id']}/record-payment"
    cases = [
        (record_path, '{"payment_method": "cash", "transaction_reference": %s}'),
        (record_path, '{"payment_method": "cash", "transaction_reference": "x", "notes": %s}'),
        (f"/api/admin/enrollments/{told['purchase_id']}/cancel", '{"reason": %s}'),
        ("/api/enrollments", '{"user_id": "' + str(school.student) + '", "product_id": %s}'),
        ("/api/enrollments", '{"user_id": "' + str(school.student) + '", "product_id": "dsp", "promotion_code": %s}'),
        ("/api/enrollments", '{"user_id": "' + str(school.student) + '", "product_id": "dsp", "funding_source": %s}'),
    ]
    for path, body in cases:
        who = "student" if path == "/api/enrollments" and "funding" not in body else "admin"
        answer = await school.call("POST", path, role=who, raw=body % text)
        assert answer.status_code in (404, 409, 422), (path, body, answer.status_code, answer.text)
    for query in ("product=a%00b", "plan=a%00b", "product=%ED%A0%80", "cursor=a%00b"):
        answer = await school.call("GET", f"/api/enrollments?{query}")
        assert answer.status_code in (200, 400, 422), (query, answer.text)


async def totals(school: School) -> dict[str, int]:
    answer = await school.admin("GET", f"{SCHEDULES}/statistics")
    (usd,) = [each for each in answer.json()["items"] if each["currency"] == "usd"]
    return {name: usd[name]["amount"] for name in ("due", "overdue", "processing", "paid", "waived", "canceled")}


async def test_the_figures_of_a_rest(school: School) -> None:
    """What was paid or waived in one sum is counted once, and nothing of it as canceled."""
    told = await school.begun()
    before = await totals(school)
    whole = await rest(school, told["purchase_id"])
    assert await totals(school) == before
    await record(school, whole["schedule_id"], "waiver")
    await school.hear()
    after = await totals(school)
    assert after["waived"] - before["waived"] == 5 * EACH
    assert before["due"] - after["due"] == 5 * EACH
    assert after["canceled"] == before["canceled"]


async def test_the_figures_of_a_rest_that_is_under_way(school: School) -> None:
    told = await school.begun()
    before = await totals(school)
    whole = await rest(school, told["purchase_id"])
    await school.pay(whole["stripe_client_secret"], method="us_bank_account")
    await school.hear()
    after = await totals(school)
    assert sum(after.values()) == sum(before.values())


async def test_the_figures_of_a_broken_off_plan(school: School) -> None:
    """The rest of a plan on Stripe's page stands for nothing else: it is owed."""
    body = {"programName": "x", "programSlug": "dsp", "price": 4325, "paymentType": "plan"}
    assert (await school.call("POST", "/api/create-checkout-session", json=body)).status_code == 200
    (session,) = await school.sandbox.sessions_of(school.student)
    await school.sandbox.pay(session.id)
    await school.uow()
    before = await totals(school)
    purchase = await school.service.purchase(school.student)
    await school.sandbox.api.subscriptions.cancel_async(purchase["stripe_subscription_id"])
    await school.uow()
    (due,) = await school.dues()
    assert (due["kind"], due["status"]) == ("remainder", "open")
    assert (await totals(school))["due"] - before["due"] == due["amount"]


async def test_cash_that_was_taken_just_before_is_counted(school: School) -> None:
    """The event of it is on its way still: what goes back of it is decided, not all of it by itself."""
    told = await school.enrolled()
    await record(school, told["schedules"][0]["id"])
    path = f"/api/admin/enrollments/{told['purchase_id']}/cancel"
    early = await school.admin("POST", path, json={"reason": "moved away", "refund_amount": 0})
    assert (early.status_code, early.json()["code"]) == (409, "payment_in_progress")
    await school.hear()
    answer = await school.admin("POST", path, json={"reason": "moved away", "refund_amount": 0})
    assert (answer.json()["paid"], answer.json()["refunded"]) == (FIRST, 0)
    await school.uow()
    assert await school.service.rows("SELECT * FROM refunds WHERE student_id = :s", s=school.student) == []


async def test_an_invoice_whose_sending_was_cut_off_is_sent(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    await school.begun()
    for method in (await school.sandbox.api.customers.payment_methods.list_async(await school.customer())).data:
        await school.sandbox.api.payment_methods.detach_async(method.id)
    invoices = type(school.service.stripe._api.v1.invoices)
    send, calls = invoices.send_invoice_async, []

    async def cut_off(self: Any, invoice: str, *args: Any, **named: Any) -> Any:
        calls.append(invoice)
        if len(calls) == 1:
            raise StripeAway("cut off")
        return await send(self, invoice, *args, **named)

    monkeypatch.setattr(invoices, "send_invoice_async", cut_off)
    await school.later(days=31)
    due = (await school.dues())[1]
    invoice = await school.sandbox.api.invoices.retrieve_async(due["stripe_invoice_id"])
    assert invoice.status == "open"
    assert len(calls) == 2
    assert (await school.dues())[1]["attempts"] == 1


async def test_what_was_ended_is_not_handed_out_again(school: School, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is left is asked for while a part is: Stripe remembers the key of its intent, which we gave up."""
    told = await school.begun()
    api, asked = school.app.state.stripe, []
    create = api.create_intent

    async def cross(params: Any, *, key: str) -> Any:
        made = await create(params, key=key)
        asked.append(key)
        if len(asked) == 1:
            await rest(school, told["purchase_id"])
        return made

    monkeypatch.setattr(api, "create_intent", cross)
    answer = await school.call("POST", f"/api/payments/schedules/{told['schedules'][1]['id']}/intent")
    intent = await school.sandbox.api.payment_intents.retrieve_async(answer.json()["payment_intent_id"])
    assert intent.status == "requires_payment_method"


async def test_a_pause_outlives_a_debit_that_fails(school: School) -> None:
    """Paying it oneself is allowed while it lasts; that it did not work resumes nothing."""
    told = await school.begun()
    path = f"{SCHEDULES}/{told['schedules'][1]['id']}"
    await school.later(days=20)
    await school.admin("POST", f"{path}/pause")
    answer = await school.call("POST", f"/api/payments/schedules/{told['schedules'][1]['id']}/intent")
    await school.pay(answer.json()["stripe_client_secret"], method="us_bank_account")
    await school.later(days=12)
    rest_of_it = await school.call("POST", f"/api/enrollments/{told['purchase_id']}/pay-remaining")
    by_hand = {"payment_method": "cash", "transaction_reference": "R-1", "notes": None}
    desk = await school.admin("POST", f"{path}/record-payment", json=by_hand)
    assert (rest_of_it.status_code, desk.status_code) == (409, 409)
    await school.sandbox.operate(f"/payment_intents/{answer.json()['payment_intent_id']}/fail")
    await school.uow()
    await school.later(days=2)
    assert (await school.statuses())[1] == "paused"
    assert await school.charges() == FIRST


async def test_an_invoice_that_was_taken_back_is_not_shown(school: School) -> None:
    await school.begun()
    for method in (await school.sandbox.api.customers.payment_methods.list_async(await school.customer())).data:
        await school.sandbox.api.payment_methods.detach_async(method.id)
    await school.later(days=31)
    due = (await school.dues())[1]
    invoice = await school.sandbox.api.invoices.retrieve_async(due["stripe_invoice_id"])
    assert due["pay_url"] == invoice.hosted_invoice_url
    await school.call("POST", f"/api/payments/schedules/{due['id']}/intent")
    due = (await school.dues())[1]
    assert due["pay_url"] != invoice.hosted_invoice_url


async def test_a_plan_of_which_a_part_went_back_goes_on(school: School) -> None:
    await school.begun()
    (payment,) = await school.service.rows("SELECT id FROM payments WHERE student_id = :s", s=school.student)
    body = {"amount": 1000, "reason": "a day missed"}
    await school.admin("POST", f"/api/payments/{payment['id']}/refund", json=body)
    await school.uow()
    await school.later(days=31)
    assert await school.charges() == FIRST + EACH - 1000


async def test_a_jump_of_months_and_a_card_that_fails(school: School) -> None:
    """All that fell due meanwhile is owed; the enrollment comes back only with the last of it."""
    told = await school.begun()
    await school.fail_next(40)
    for days in (95, 1, 2, 4):
        await school.later(days=days)
    assert (await school.statuses())[:5] == ["paid", "overdue", "overdue", "overdue", "open"]
    await school.fail_next(0)
    for n in (1, 2, 3):
        assert await school.standing() == ("paused", "past_due")
        await record(school, told["schedules"][n]["id"])
        await school.hear()
    assert await school.standing() == ("active", None)
