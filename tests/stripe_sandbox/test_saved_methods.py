"""A payment page that saves the method for later charges, and schedules that end with their subscription."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stripe_sandbox.harness import RETURN_URL, SUCCESS
from tests.stripe_sandbox.in_process import DAY, InProcessSandbox

from stripe_sandbox.settings import Settings


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("card", ["4242424242424242", "4000002500003155"])
def test_a_payment_page_saves_the_card_for_later_charges(sandbox: InProcessSandbox, existing: bool, card: str) -> None:
    buyer: Any = {"customer": sandbox.customer(None).id} if existing else {"customer_creation": "always"}
    session = sandbox.api.checkout.sessions.create(
        {
            "mode": "payment",
            "line_items": [{"quantity": 1, "price": sandbox.price(97_800, None)}],
            "success_url": SUCCESS,
            "payment_intent_data": {"setup_future_usage": "off_session", "metadata": {"purchase": "p1"}},
            **buyer,
        }
    )
    paid = sandbox.operate_now(f"/sessions/{session.id}/pay", card=card, email="ada@example.org")
    if paid["status"] == "requires_action":
        sandbox.operate_now(f"/payment_intents/{paid['payment_intent']}/authenticate", passed=True)
    customer = sandbox.api.checkout.sessions.retrieve(session.id).customer
    (saved,) = sandbox.api.customers.payment_methods.list(customer).data
    order = {"amount": 1_000, "currency": "usd", "customer": customer, "payment_method": saved.id}
    later = sandbox.api.payment_intents.create(
        {**order, "confirm": True, "off_session": True, "return_url": RETURN_URL}
    )
    assert later.status == "succeeded"


def test_a_bank_account_is_saved_while_its_debit_is_processing(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer(None)
    intent = sandbox.api.payment_intents.create(
        {"amount": 97_800, "currency": "usd", "customer": customer.id, "setup_future_usage": "off_session"}
    )
    sandbox.operate_now(f"/payment_intents/{intent.id}/pay", method="us_bank_account")
    (saved,) = sandbox.api.customers.payment_methods.list(customer.id).data
    assert saved.type == "us_bank_account"


def test_a_schedule_is_aborted_when_its_subscription_ends_unpaid() -> None:
    sandbox = InProcessSandbox(Settings(after_last_retry="canceled"))
    customer = sandbox.customer()
    phase = {"items": [{"price": sandbox.price(4_900)}], "duration": {"interval": "year", "interval_count": 1}}
    schedule = sandbox.api.subscription_schedules.create(
        {"customer": customer.id, "start_date": "now", "end_behavior": "cancel", "phases": [phase]}
    )
    sandbox.operate_now(f"/customers/{customer.id}/fail_next_charges", times=10)
    sandbox.advance(60 * DAY)
    assert sandbox.types()[-2:] == ["customer.subscription.deleted", "subscription_schedule.aborted"]
    assert sandbox.api.subscription_schedules.retrieve(schedule.id).status == "canceled"
