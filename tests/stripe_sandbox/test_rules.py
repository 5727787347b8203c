"""The catalog of rules, and what depends on it. Each rule has a case in tests/conformance."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import stripe
from tests.stripe_sandbox.in_process import DAY, InProcessSandbox

import stripe_sandbox
from stripe_sandbox.amounts import minimum_charge, written
from stripe_sandbox.resources import OPERATIONS
from stripe_sandbox.rules.enforcement import RULES


def _strings(annotation: Any) -> set[str]:
    parts = get_args(annotation)
    return {part for part in parts if type(part) is str}.union(*(_strings(part) for part in parts))


def test_error_codes_are_those_of_the_sdk() -> None:
    codes = _strings(stripe.PaymentIntent.LastPaymentError.__annotations__["code"])
    (package,) = stripe_sandbox.__path__
    found = {
        code
        for path in Path(package).rglob("*.py")
        for pair in re.findall(r'code="([a-z_]+)"|Decline\(\s*"([a-z_]+)"', path.read_text())
        for code in pair
        if code
    }
    assert len(found) > 20 and found <= codes


def test_rules_are_about_calls_that_exist() -> None:
    calls = {f"{operation.method} {operation.path}" for operation in OPERATIONS}
    assert {call for rule in RULES for call in rule.calls} - {"GET *", "POST *"} <= calls


def test_minimum_charges() -> None:
    assert written(minimum_charge("usd"), "usd") == "$0.50 usd"
    assert written(minimum_charge("gbp"), "gbp") == "£0.30 gbp"
    assert written(minimum_charge("jpy"), "jpy") == "¥50 jpy"
    assert written(minimum_charge("mxn"), "mxn") == "10.00 mxn"


@pytest.mark.parametrize(("mode", "credit"), [("flexible", 0), ("classic", -49_000)])
def test_a_credit_is_a_share_of_what_was_debited(sandbox: InProcessSandbox, mode: str, credit: int) -> None:
    customer = sandbox.customer()
    coupon = sandbox.api.coupons.create({"percent_off": 100, "duration": "once"}).id
    subscription = sandbox.api.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": sandbox.price(49_000, "year")}],
            "discounts": [{"coupon": coupon}],
            "billing_mode": {"type": mode},
        }
    )
    item = {"id": subscription["items"].data[0].id, "price": sandbox.price(1_900, "month")}
    start = subscription["items"].data[0].current_period_start
    sandbox.api.subscriptions.update(subscription.id, {"items": [item], "proration_date": start})
    assert sandbox.api.customers.retrieve(customer.id).balance == min(credit + 1_900, 0)


def test_the_credit_of_a_second_change_is_that_of_the_first(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer()
    coupon = sandbox.api.coupons.create({"percent_off": 50, "duration": "forever"}).id
    subscription = sandbox.api.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": sandbox.price(10_000)}],
            "discounts": [{"coupon": coupon}],
        }
    )
    entry = subscription["items"].data[0]
    for amount in (20_000, 40_000):
        change = {"items": [{"id": entry.id, "price": sandbox.price(amount)}], "proration_behavior": "always_invoice"}
        sandbox.api.subscriptions.update(subscription.id, {**change, "proration_date": entry.current_period_start})
    paid = [invoice.amount_paid for invoice in sandbox.api.invoices.list({"subscription": subscription.id}).data]
    assert paid[::-1] == [5_000, 5_000, 10_000]


def test_tax_is_a_setting_of_each_phase(sandbox: InProcessSandbox) -> None:
    item, month = {"price": sandbox.price(10_000)}, {"interval": "month", "interval_count": 1}
    taxed = {"items": [item], "duration": month, "automatic_tax": {"enabled": True}}
    schedule = sandbox.api.subscription_schedules.create(
        {
            "customer": sandbox.customer().id,
            "start_date": "now",
            "phases": [taxed, {"items": [item], "duration": month}],
        }
    )
    sandbox.advance(40 * DAY)
    invoices = sandbox.api.invoices.list({"subscription": schedule.subscription}).data
    assert [invoice.total for invoice in invoices][::-1] == [10_700, 10_000]


def test_an_amount_below_the_minimum_is_due_with_the_next_invoice(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer()
    totals = []
    for amount in (30, 5_000):
        draft = sandbox.api.invoices.create({"customer": customer.id})
        item = {"customer": customer.id, "invoice": draft.id, "amount": amount, "currency": "usd"}
        sandbox.api.invoice_items.create(item)
        totals.append(sandbox.api.invoices.finalize_invoice(draft.id).amount_due)
    assert totals == [0, 5_030]


def test_an_expired_page_cancels_its_intent(sandbox: InProcessSandbox) -> None:
    line = {"quantity": 1, "price": sandbox.price(5_000, None)}
    page = {"mode": "payment", "line_items": [line], "success_url": "https://school.example"}
    session = sandbox.api.checkout.sessions.create(page)
    declined = sandbox.operate_now(f"/sessions/{session.id}/pay", card="4000000000000002", email="ada@example.org")
    sandbox.api.checkout.sessions.expire(session.id)
    intent = sandbox.api.payment_intents.retrieve(declined["payment_intent"])
    assert (intent.status, intent.cancellation_reason) == ("canceled", "expired")


@pytest.mark.parametrize(
    ("code", "advice"), [("stolen_card", "do_not_try_again"), ("insufficient_funds", "try_again_later")]
)
def test_a_decline_has_advice(sandbox: InProcessSandbox, code: str, advice: str) -> None:
    customer = sandbox.customer()
    draft = sandbox.api.invoices.create({"customer": customer.id})
    sandbox.api.invoice_items.create({"customer": customer.id, "invoice": draft.id, "amount": 5_000, "currency": "usd"})
    sandbox.operate_now(f"/customers/{customer.id}/fail_next_charges", decline_code=code)
    with pytest.raises(stripe.CardError) as raised:
        sandbox.api.invoices.pay(draft.id)
    body: Any = raised.value.json_body
    assert (body["error"]["decline_code"], body["error"]["advice_code"]) == (code, advice)
