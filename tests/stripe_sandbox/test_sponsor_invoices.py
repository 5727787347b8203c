"""Invoices without a subscription: their items, their due date, and every way in which they end."""

from __future__ import annotations

from typing import Any

import pytest
import stripe
from tests.stripe_sandbox.inside import DAY, HOUR, Inside

META = {"enrollment": "e1"}


def draft(inside: Inside, *amounts: int, **params: Any) -> Any:
    customer = inside.customer(None)
    given = {"customer": customer.id, "collection_method": "send_invoice", "days_until_due": 30, "metadata": META}
    invoice = inside.api.invoices.create({**given, **params})
    for amount in amounts:
        item = {
            "customer": customer.id,
            "invoice": invoice.id,
            "amount": amount,
            "metadata": {"enrollment": str(amount)},
        }
        inside.api.invoice_items.create(item)
    inside.told()
    return inside.api.invoices.retrieve(invoice.id)


def test_the_way_of_an_invoice_from_sent_to_paid(inside: Inside) -> None:
    invoice = draft(inside, 48_900, 1_100)
    assert [(line.amount, line.metadata.to_dict()) for line in invoice.lines.data] == [
        (48_900, {"enrollment": "48900"}),
        (1_100, {"enrollment": "1100"}),
    ]
    sent = inside.api.invoices.send_invoice(invoice.id)
    assert (sent.status, sent.amount_due, sent.due_date - sent.created) == ("open", 50_000, 30 * DAY)
    inside.operate_now(f"/invoices/{invoice.id}/pay", card="4242424242424242")
    told = inside.told()
    assert [event["type"] for event in told if not event["type"].startswith("payment_intent.created")] == [
        "invoice.finalized",
        "invoice.sent",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
        "payment_intent.succeeded",
        "charge.succeeded",
    ]
    objects = [event["data"]["object"] for event in told if event["type"].startswith("invoice.")]
    assert [o["metadata"] for o in objects] == [META] * 4
    link = next(event["data"]["object"] for event in told if event["type"] == "invoice_payment.paid")
    assert (link["invoice"], link["amount_paid"], link["status"]) == (invoice.id, 50_000, "paid")


def test_it_is_overdue_once_and_can_still_be_paid(inside: Inside) -> None:
    invoice = inside.api.invoices.send_invoice(draft(inside, 50_000).id)
    inside.told()
    inside.advance(29 * DAY)
    assert inside.types() == []
    inside.advance(40 * DAY)
    (overdue,) = inside.told()
    assert (overdue["type"], overdue["data"]["object"]["id"]) == ("invoice.overdue", invoice.id)
    assert overdue["created"] == invoice.due_date
    assert overdue["data"]["object"]["metadata"] == META
    inside.operate_now(f"/invoices/{invoice.id}/pay")
    assert inside.api.invoices.retrieve(invoice.id).status == "paid"


def test_given_up_paid_after_all_or_voided(inside: Inside) -> None:
    one, other = (inside.api.invoices.finalize_invoice(draft(inside, 50_000).id) for _ in range(2))
    inside.told()
    for invoice in (one, other):
        assert inside.api.invoices.mark_uncollectible(invoice.id).status == "uncollectible"
    assert inside.types() == ["invoice.marked_uncollectible"] * 2
    inside.operate_now(f"/invoices/{one.id}/pay")
    assert inside.api.invoices.retrieve(one.id).status == "paid"
    inside.told()
    assert inside.api.invoices.void_invoice(other.id).status == "void"
    assert inside.types() == ["payment_intent.canceled", "invoice.voided"]
    with pytest.raises(stripe.InvalidRequestError):
        inside.api.invoices.pay(other.id)
    inside.advance(60 * DAY)
    assert inside.types() == []


def test_items_of_a_draft_can_be_changed(inside: Inside) -> None:
    invoice = draft(inside, 10_000, 5_000)
    kept, dropped = (line.parent.invoice_item_details.invoice_item for line in invoice.lines.data)
    inside.api.invoice_items.update(kept, {"amount": 12_000, "description": "Two enrollments"})
    assert inside.api.invoice_items.delete(dropped).deleted
    changed = inside.api.invoices.retrieve(invoice.id)
    assert (changed.total, [line.description for line in changed.lines.data]) == (12_000, ["Two enrollments"])
    inside.api.invoices.finalize_invoice(invoice.id)
    with pytest.raises(stripe.InvalidRequestError, match="no longer a draft"):
        inside.api.invoice_items.update(kept, {"amount": 1})


def test_an_automatic_draft_is_sent_by_itself(inside: Inside) -> None:
    invoice = draft(inside, 10_000, auto_advance=True)
    inside.advance(HOUR + 1)
    assert inside.types() == ["payment_intent.created", "invoice.finalized", "invoice.sent"]
    assert inside.api.invoices.retrieve(invoice.id).status == "open"


def test_items_wait_for_the_next_invoice_and_coupons_count(inside: Inside) -> None:
    customer = inside.customer()
    inside.api.invoice_items.create({"customer": customer.id, "amount": 10_000, "currency": "usd", "metadata": META})
    inside.api.coupons.create({"id": "tenth", "percent_off": 10, "duration": "once"})
    given = {"pending_invoice_items_behavior": "include", "discounts": [{"coupon": "tenth"}]}
    invoice = inside.api.invoices.create({"customer": customer.id, **given})
    assert (invoice.total, invoice.lines.data[0].metadata.to_dict()) == (9_000, META)
    assert inside.api.invoices.pay(invoice.id).status == "paid"
    assert inside.api.invoice_items.list({"customer": customer.id, "pending": True}).data == []


def test_credit_is_used_up_first(inside: Inside) -> None:
    customer = inside.customer()
    inside.api.customers.balance_transactions.create(customer.id, {"amount": -3_000, "currency": "usd"})
    invoice = inside.api.invoices.create({"customer": customer.id})
    inside.api.invoice_items.create({"customer": customer.id, "invoice": invoice.id, "amount": 10_000})
    opened = inside.api.invoices.finalize_invoice(invoice.id)
    assert (opened.total, opened.amount_due, opened.starting_balance, opened.ending_balance) == (
        10_000,
        7_000,
        -3_000,
        0,
    )
    inside.api.invoices.void_invoice(invoice.id)
    assert inside.api.customers.retrieve(customer.id).balance == -3_000
    moves = inside.api.customers.balance_transactions.list(customer.id).data
    assert [(m.type, m.amount) for m in moves] == [
        ("unapplied_from_invoice", -3_000),
        ("applied_to_invoice", 3_000),
        ("adjustment", -3_000),
    ]
