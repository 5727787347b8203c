"""Stripe Tax: a flat rate on sessions, invoices and subscriptions."""

from __future__ import annotations

from typing import Any

import pytest
from tests.stripe_sandbox.harness import LINE, SUCCESS
from tests.stripe_sandbox.in_process import DAY, InProcessSandbox

from stripe_sandbox.flows.taxes import portion, spread
from stripe_sandbox.settings import Settings

TAX: Any = {"automatic_tax": {"enabled": True}}


def test_rounding_is_half_up_and_lines_add_up() -> None:
    assert [portion(a, 700, 10_000) for a in (50, 49, 64, 65, -50)] == [4, 3, 4, 5, -4]
    assert spread([150, 150, 150], 700) == [11, 10, 11]
    assert sum(spread([33, 33, 33, -7], 725)) == portion(92, 725, 10_000)


@pytest.mark.parametrize(("off", "tax"), [(0, 34_230), (10_050, 33_527)])
def test_a_session_is_taxed_after_its_discount(sandbox: InProcessSandbox, off: int, tax: int) -> None:
    params: Any = {"mode": "payment", "line_items": [LINE], "success_url": SUCCESS, **TAX}
    params["invoice_creation"] = {"enabled": True}
    if off:
        sandbox.api.coupons.create({"id": "less", "amount_off": off, "currency": "usd", "duration": "once"})
        params["discounts"] = [{"coupon": "less"}]
    created = sandbox.api.checkout.sessions.create(params)
    assert (created.amount_subtotal, created.total_details.amount_tax) == (489_000, tax)
    assert (created.amount_total, created.automatic_tax.status) == (489_000 - off + tax, "complete")
    (line,) = sandbox.api.checkout.sessions.line_items.list(created.id).data
    assert (line.amount_tax, line.amount_total) == (tax, 489_000 - off + tax)
    paid = sandbox.operate_now(f"/sessions/{created.id}/pay", email="ada@example.org")
    intent = sandbox.api.payment_intents.retrieve(paid["payment_intent"])
    assert intent.amount_received == 489_000 - off + tax
    invoice = sandbox.api.invoices.retrieve(paid["session"]["invoice"])
    assert (invoice.status, invoice.amount_paid, invoice.total_taxes[0].amount) == ("paid", 489_000 - off + tax, tax)


def test_an_invoice_has_its_tax(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer(None)
    given: Any = {"customer": customer.id, "collection_method": "send_invoice", "days_until_due": 30, **TAX}
    draft = sandbox.api.invoices.create(given)
    for amount in (1_050, 1_050):
        sandbox.api.invoice_items.create({"customer": customer.id, "invoice": draft.id, "amount": amount})
    sent = sandbox.api.invoices.send_invoice(draft.id)
    assert (sent.subtotal, sent.total_excluding_tax, sent.total, sent.amount_due) == (2_100, 2_100, 2_247, 2_247)
    assert [(t.amount, t.taxable_amount, t.tax_behavior) for t in sent.total_taxes] == [(147, 2_100, "exclusive")]
    assert sent.automatic_tax.status == "complete"
    assert [line.taxes[0].amount for line in sent.lines.data] == [74, 73]


def test_a_plan_is_taxed_at_every_renewal(sandbox: InProcessSandbox) -> None:
    line = {"price": sandbox.price(10_000), "quantity": 1}
    params: Any = {"mode": "subscription", "line_items": [line], "success_url": SUCCESS, **TAX}
    created = sandbox.api.checkout.sessions.create(params)
    assert created.amount_total == 10_700
    sandbox.operate_now(f"/sessions/{created.id}/pay", email="ada@example.org")
    sandbox.new_events()
    sandbox.advance(32 * DAY)
    (paid,) = sandbox.of("invoice.paid")
    assert (paid["object"]["total"], paid["object"]["amount_paid"]) == (10_700, 10_700)


def test_exempt_customers_and_intents_are_not_taxed() -> None:
    sandbox = InProcessSandbox(Settings(tax_basis_points=825))
    customer = sandbox.customer(tax_exempt="exempt")
    params: Any = {"mode": "payment", "line_items": [LINE], "success_url": SUCCESS, **TAX}
    assert sandbox.api.checkout.sessions.create({**params, "customer": customer.id}).amount_total == 489_000
    assert sandbox.api.checkout.sessions.create(params).total_details.amount_tax == 40_343
    assert sandbox.api.payment_intents.create({"amount": 1_000, "currency": "usd"}).amount == 1_000
