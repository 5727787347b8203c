"""Standalone invoices: items, due date, credit, and final statuses."""

from __future__ import annotations

from typing import Any

import pytest
import stripe
from tests.stripe_sandbox.in_process import DAY, HOUR, InProcessSandbox

META = {"enrollment": "e1"}


def draft(sandbox: InProcessSandbox, *amounts: int, **params: Any) -> Any:
    customer = sandbox.customer(None)
    given = {"customer": customer.id, "collection_method": "send_invoice", "days_until_due": 30, "metadata": META}
    invoice = sandbox.api.invoices.create({**given, **params})
    for amount in amounts:
        item = {
            "customer": customer.id,
            "invoice": invoice.id,
            "amount": amount,
            "metadata": {"enrollment": str(amount)},
        }
        sandbox.api.invoice_items.create(item)
    sandbox.new_events()
    return sandbox.api.invoices.retrieve(invoice.id)


def test_an_invoice_is_sent_and_paid(sandbox: InProcessSandbox) -> None:
    invoice = draft(sandbox, 48_900, 1_100)
    assert [(line.amount, line.metadata.to_dict()) for line in invoice.lines.data] == [
        (48_900, {"enrollment": "48900"}),
        (1_100, {"enrollment": "1100"}),
    ]
    sent = sandbox.api.invoices.send_invoice(invoice.id)
    assert (sent.status, sent.amount_due, sent.due_date - sent.created) == ("open", 50_000, 30 * DAY)
    sandbox.operate_now(f"/invoices/{invoice.id}/pay", card="4242424242424242")
    events = sandbox.new_events()
    assert [event["type"] for event in events if not event["type"].startswith("payment_intent.created")] == [
        "invoice.finalized",
        "invoice.sent",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
        "payment_intent.succeeded",
        "charge.succeeded",
    ]
    objects = [event["data"]["object"] for event in events if event["type"].startswith("invoice.")]
    assert [o["metadata"] for o in objects] == [META] * 4
    link = next(event["data"]["object"] for event in events if event["type"] == "invoice_payment.paid")
    assert (link["invoice"], link["amount_paid"], link["status"]) == (invoice.id, 50_000, "paid")


def test_an_invoice_is_overdue_once_and_can_still_be_paid(sandbox: InProcessSandbox) -> None:
    invoice = sandbox.api.invoices.send_invoice(draft(sandbox, 50_000).id)
    sandbox.new_events()
    sandbox.advance(29 * DAY)
    assert sandbox.types() == []
    sandbox.advance(40 * DAY)
    (overdue,) = sandbox.new_events()
    assert (overdue["type"], overdue["data"]["object"]["id"]) == ("invoice.overdue", invoice.id)
    assert overdue["created"] == invoice.due_date
    assert overdue["data"]["object"]["metadata"] == META
    sandbox.operate_now(f"/invoices/{invoice.id}/pay")
    assert sandbox.api.invoices.retrieve(invoice.id).status == "paid"


def test_an_uncollectible_invoice_can_be_paid_or_voided(sandbox: InProcessSandbox) -> None:
    one, other = (sandbox.api.invoices.finalize_invoice(draft(sandbox, 50_000).id) for _ in range(2))
    sandbox.new_events()
    for invoice in (one, other):
        assert sandbox.api.invoices.mark_uncollectible(invoice.id).status == "uncollectible"
    assert sandbox.types() == ["invoice.marked_uncollectible"] * 2
    sandbox.operate_now(f"/invoices/{one.id}/pay")
    assert sandbox.api.invoices.retrieve(one.id).status == "paid"
    sandbox.new_events()
    assert sandbox.api.invoices.void_invoice(other.id).status == "void"
    assert sandbox.types() == ["payment_intent.canceled", "invoice.voided"]
    with pytest.raises(stripe.InvalidRequestError):
        sandbox.api.invoices.pay(other.id)
    sandbox.advance(60 * DAY)
    assert sandbox.types() == []


def test_items_of_a_draft_can_be_changed(sandbox: InProcessSandbox) -> None:
    invoice = draft(sandbox, 10_000, 5_000)
    kept, dropped = (line.parent.invoice_item_details.invoice_item for line in invoice.lines.data)
    sandbox.api.invoice_items.update(kept, {"amount": 12_000, "description": "Two enrollments"})
    assert sandbox.api.invoice_items.delete(dropped).deleted
    changed = sandbox.api.invoices.retrieve(invoice.id)
    assert (changed.total, [line.description for line in changed.lines.data]) == (12_000, ["Two enrollments"])
    sandbox.api.invoices.finalize_invoice(invoice.id)
    with pytest.raises(stripe.InvalidRequestError, match="no longer a draft"):
        sandbox.api.invoice_items.update(kept, {"amount": 1})


def test_a_draft_with_auto_advance_is_sent_automatically(sandbox: InProcessSandbox) -> None:
    invoice = draft(sandbox, 10_000, auto_advance=True)
    sandbox.advance(HOUR + 1)
    assert sandbox.types() == ["payment_intent.created", "invoice.finalized", "invoice.sent"]
    assert sandbox.api.invoices.retrieve(invoice.id).status == "open"


def test_pending_items_and_coupons_apply_to_the_next_invoice(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer()
    sandbox.api.invoice_items.create({"customer": customer.id, "amount": 10_000, "currency": "usd", "metadata": META})
    sandbox.api.coupons.create({"id": "tenth", "percent_off": 10, "duration": "once"})
    given = {"pending_invoice_items_behavior": "include", "discounts": [{"coupon": "tenth"}]}
    invoice = sandbox.api.invoices.create({"customer": customer.id, **given})
    assert (invoice.total, invoice.lines.data[0].metadata.to_dict()) == (9_000, META)
    assert sandbox.api.invoices.pay(invoice.id).status == "paid"
    assert sandbox.api.invoice_items.list({"customer": customer.id, "pending": True}).data == []


def test_credit_is_applied_first(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer()
    sandbox.api.customers.balance_transactions.create(customer.id, {"amount": -3_000, "currency": "usd"})
    invoice = sandbox.api.invoices.create({"customer": customer.id})
    sandbox.api.invoice_items.create({"customer": customer.id, "invoice": invoice.id, "amount": 10_000})
    opened = sandbox.api.invoices.finalize_invoice(invoice.id)
    assert (opened.total, opened.amount_due, opened.starting_balance, opened.ending_balance) == (
        10_000,
        7_000,
        -3_000,
        0,
    )
    sandbox.api.invoices.void_invoice(invoice.id)
    assert sandbox.api.customers.retrieve(customer.id).balance == -3_000
    moves = sandbox.api.customers.balance_transactions.list(customer.id).data
    assert [(m.type, m.amount) for m in moves] == [
        ("unapplied_from_invoice", -3_000),
        ("applied_to_invoice", 3_000),
        ("adjustment", -3_000),
    ]
