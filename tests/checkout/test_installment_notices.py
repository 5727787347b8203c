"""Announcements, hard declines, revoked mandates and deleted customers: what is said before and instead of a charge."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.checkout.installment_steps import CARD, School
from tests.checkout.plan_steps import page, paid_page

from checkout.installments.timer import Timer
from checkout.stripe_client import StripeUnavailable
from contracts.payments import CustomerDeleted, MandateRevoked

MONTH = 14_375


async def test_a_charge_is_announced_days_before(school: School) -> None:
    await paid_page(school)
    await school.later(days=24)
    assert await school.service.published(school.student, "installment.announced.v1") == []
    await school.later(days=5)
    (announced,) = await school.service.published(school.student, "installment.announced.v1")
    row = (await school.installments())[1]
    assert (announced["installment"], announced["position"], announced["installments"]) == (f"{row['id']}:1", 2, 4)
    assert (announced["amount"]["amount"], announced["automatic"], announced["payer"]) == (MONTH, True, "student")
    assert datetime.fromisoformat(announced["due_at"]) == row["due_at"]
    assert announced["pay_url"] == row["pay_page"]
    assert await school.charges() == MONTH
    await school.later(days=5)
    assert await school.charges() == 2 * MONTH
    assert len(await school.service.published(school.student, "installment.announced.v1")) == 1, "once"


async def test_without_a_saved_method_the_payer_is_asked_to_pay(school: School) -> None:
    enrollment = await school.enrolled()
    body = {"payment_method": "cash", "transaction_reference": f"R-{uuid4()}", "notes": None}
    path = f"/api/admin/payments/schedules/{enrollment['schedules'][0]['id']}/record-payment"
    assert (await school.admin("POST", path, json=body)).status_code == 200
    await school.deliver()
    await school.later(days=29)
    (announced,) = await school.service.published(school.student, "installment.announced.v1")
    assert announced["automatic"] is False


async def test_announcements_can_be_switched_off(school: School) -> None:
    school.timer = Timer(school.service.database, school.clock, announced_ahead=timedelta(0))
    await paid_page(school)
    await school.later(days=29)
    await school.later(days=3)
    assert await school.service.published(school.student, "installment.announced.v1") == []
    assert await school.charges() == 2 * MONTH


async def test_nothing_is_announced_before_the_first_is_paid(school: School) -> None:
    await page(school)
    await school.later(days=29)
    assert await school.service.published(school.student, "installment.announced.v1") == []


@pytest.mark.parametrize("code", ["stolen_card", "lost_card", "fraudulent", "do_not_try_again"])
async def test_a_hard_decline_asks_for_another_method_at_once(school: School, code: str) -> None:
    await paid_page(school)
    await school.fail_next(1, decline_code=code)
    await school.later(days=31)
    (failure,) = await school.failures()
    assert (failure["code"], failure["final"], failure["attempt"]) == (code, True, 1)
    assert (await school.statuses())[1] == "overdue"
    assert await school.standing() == ("paused", "past_due")
    await school.later(days=20)
    assert await school.charges() == MONTH, "not charged again"
    row = (await school.installments())[1]
    answer = await school.call("POST", f"/api/payments/schedules/{row['id']}/intent")
    await school.pay(answer.json()["stripe_client_secret"], card="5555555555554444")
    await school.run_due()
    assert await school.standing() == ("active", None)


async def test_a_card_that_needs_its_holder_is_charged_once_and_another_one_at_once(school: School) -> None:
    await paid_page(school)
    await school.fail_next(1, decline_code="authentication_required")
    await school.later(days=31)
    (failure,) = await school.failures()
    assert (failure["code"], failure["final"], failure["pay_url"] is not None) == (
        "authentication_required",
        False,
        True,
    )
    charged = (await school.installments())[1]["charged_at"]
    await school.later(days=1)
    row = (await school.installments())[1]
    assert (row["attempts"], row["charged_at"]) == (2, charged), "a reminder, no charge"
    method = await school.sandbox.api.payment_methods.create_async({"type": "card", "card": {"token": "tok_visa"}})
    await school.sandbox.api.payment_methods.attach_async(method.id, {"customer": await school.customer()})
    await school.sandbox.api.customers.update_async(
        await school.customer(), {"invoice_settings": {"default_payment_method": method.id}}
    )
    await school.later(days=2)
    assert (await school.statuses())[1] == "paid"


async def test_a_revoked_mandate_is_never_debited_again(school: School) -> None:
    session = await page(school)
    await school.sandbox.pay(session.id, method="us_bank_account")
    paid = await school.sandbox.api.checkout.sessions.retrieve_async(session.id)
    await school.sandbox.operate(f"/payment_intents/{paid.payment_intent}/settle")
    await school.run_due()
    intent = await school.sandbox.api.payment_intents.retrieve_async(str(paid.payment_intent))
    assert isinstance(intent.payment_method, str)
    await school.service.publish(MandateRevoked(mandate="mandate_1", payment_method=intent.payment_method))
    await school.perform()
    await school.later(days=31)
    (failure,) = await school.failures()
    assert failure["code"] == "no_payment_method"
    assert (await school.statuses())[1] == "open"
    saved = await school.sandbox.api.customers.payment_methods.list_async(await school.customer())
    assert saved.data == []


async def test_a_deleted_customer_is_replaced(school: School) -> None:
    await paid_page(school)
    gone = await school.customer()
    row = (await school.installments())[1]
    await school.call("POST", f"/api/payments/schedules/{row['id']}/intent")
    await school.sandbox.api.customers.delete_async(gone)
    await school.service.publish(CustomerDeleted(customer=gone))
    await school.perform()
    assert await school.customer() != gone
    await school.later(days=31)
    (failure,) = await school.failures()
    assert failure["code"] == "no_payment_method"
    answer = await school.call("POST", f"/api/payments/schedules/{row['id']}/intent")
    assert answer.status_code == 200, answer.text
    await school.pay(answer.json()["stripe_client_secret"], card=CARD)
    await school.run_due()
    assert (await school.statuses())[1] == "paid"


async def test_a_customer_that_was_deleted_after_a_lost_answer_is_replaced(school: School) -> None:
    """The new customer's invoice is another request for Stripe: the old one's key would reject it for a day."""
    await paid_page(school)
    gone = await school.customer()
    row = (await school.installments())[1]
    stripe: Any = school.app.state.stripe
    asked = stripe.draft_invoice

    async def lose_answer(**sent: Any) -> None:
        await asked(**sent)
        raise StripeUnavailable("lost")

    stripe.draft_invoice = lose_answer
    answer = await school.call("POST", f"/api/payments/schedules/{row['id']}/intent")
    assert answer.status_code == 503, answer.text
    stripe.draft_invoice = asked
    await school.sandbox.api.customers.delete_async(gone)
    await school.service.publish(CustomerDeleted(customer=gone))
    await school.perform()
    answer = await school.call("POST", f"/api/payments/schedules/{row['id']}/intent")
    assert answer.status_code == 200, answer.text
    await school.pay(answer.json()["stripe_client_secret"], card=CARD)
    await school.run_due()
    assert (await school.statuses())[1] == "paid"


async def test_a_customer_of_nobody_is_ignored(school: School) -> None:
    await school.service.publish(CustomerDeleted(customer="cus_nobody"))
    jobs = await school.service.rows("SELECT * FROM jobs WHERE key = 'cus_nobody/replacement'")
    assert jobs == []


async def test_cash_for_the_first_installment_of_a_page_closes_the_page(school: School) -> None:
    session = await page(school)
    first = (await school.installments())[0]
    body = {"payment_method": "cash", "transaction_reference": f"R-{uuid4()}", "notes": None}
    answer = await school.admin("POST", f"/api/admin/payments/schedules/{first['id']}/record-payment", json=body)
    assert answer.status_code == 200, answer.text
    await school.run_due()
    assert (await school.sandbox.api.checkout.sessions.retrieve_async(session.id)).status == "expired"
    assert await school.statuses() == ["paid", "open", "open", "open"]
    assert await school.standing() == ("active", None)
