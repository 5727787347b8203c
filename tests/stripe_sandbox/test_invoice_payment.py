"""Payment of standalone invoices: on the hosted page, by bank debit, through the API, and out of band."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import stripe
from tests.stripe_sandbox.harness import Operator, events_of, last_event, plain


def sponsor_invoice(client: stripe.StripeClient, amount: int = 489_000) -> Any:
    customer = client.v1.customers.create({"email": "finance@sponsor.example", "name": "Sponsor"})
    invoice = client.v1.invoices.create(
        {
            "customer": customer.id,
            "collection_method": "send_invoice",
            "days_until_due": 30,
            "metadata": {"purchase": "p7"},
        }
    )
    item: Any = {"customer": customer.id, "invoice": invoice.id, "amount": amount, "currency": "usd"}
    item["description"] = "Barber apprenticeship"
    client.v1.invoice_items.create(item)
    return client.v1.invoices.retrieve(invoice.id)


def test_a_draft_is_sent_and_paid_on_its_page(
    client: stripe.StripeClient, http: httpx.Client, operator: Operator
) -> None:
    draft = sponsor_invoice(client)
    assert (draft.status, draft.amount_due, draft.number) == ("draft", 489_000, None)
    assert http.get(f"/i/{draft.id}").status_code == 404
    sent = client.v1.invoices.send_invoice(draft.id, {"expand": ["payments.data.payment.payment_intent"]})
    assert sent.status == "open" and sent.hosted_invoice_url and sent.number and sent.due_date
    payments: Any = sent.payments
    assert payments.data[0].payment.payment_intent.status == "requires_payment_method"
    page = http.get(f"/i/{draft.id}").text
    assert "$4,890.00" in page and 'value="klarna"' not in page
    since = last_event(client)
    assert http.post(f"/i/{draft.id}", data={"method": "card", "card": "4000000000000002"}).status_code == 402
    assert http.post(f"/i/{draft.id}", data={"method": "card", "card": "4242424242424242"}).status_code == 303
    assert "Invoice paid" in http.get(f"/i/{draft.id}").text
    paid = [plain(e.data.object) for e in events_of(client, since, "invoice.paid")]
    assert [(i["id"], i["metadata"], i["parent"]) for i in paid] == [(draft.id, {"purchase": "p7"}, None)]
    assert client.v1.invoices.retrieve(draft.id).attempt_count == 2


def test_an_invoice_is_open_until_the_bank_debit_settles(client: stripe.StripeClient, operator: Operator) -> None:
    invoice = client.v1.invoices.finalize_invoice(sponsor_invoice(client).id)
    operator.do(f"/invoices/{invoice.id}/pay", method="us_bank_account")
    link = client.v1.invoice_payments.list({"invoice": invoice.id}).data[0]
    assert (client.v1.invoices.retrieve(invoice.id).status, link.status) == ("open", "open")
    operator.do(f"/payment_intents/{link.payment.payment_intent}/settle")
    assert client.v1.invoices.retrieve(invoice.id).status == "paid"


def test_an_out_of_band_payment_cancels_the_intent(client: stripe.StripeClient) -> None:
    invoice = client.v1.invoices.finalize_invoice(sponsor_invoice(client).id)
    paid = client.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
    assert (paid.status, paid.amount_paid) == ("paid", 489_000)
    link: Any = client.v1.invoice_payments.list({"invoice": invoice.id, "expand": ["data.payment.payment_intent"]})
    assert (link.data[0].status, link.data[0].payment.payment_intent.status) == ("canceled", "canceled")
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        client.v1.invoices.pay(invoice.id)


def test_paying_by_api_and_a_decline(client: stripe.StripeClient) -> None:
    invoice = client.v1.invoices.finalize_invoice(sponsor_invoice(client).id)
    with pytest.raises(stripe.InvalidRequestError, match="default_payment_method"):
        client.v1.invoices.pay(invoice.id)
    attach: Any = {"customer": invoice.customer}
    failing = client.v1.payment_methods.attach("pm_card_chargeCustomerFail", attach)
    with pytest.raises(stripe.CardError):
        client.v1.invoices.pay(invoice.id, {"payment_method": failing.id})
    card = client.v1.payment_methods.attach("pm_card_visa", attach)
    assert client.v1.invoices.pay(invoice.id, {"payment_method": card.id}).status == "paid"


def test_voiding_and_deleting(client: stripe.StripeClient, http: httpx.Client) -> None:
    draft = sponsor_invoice(client)
    assert client.v1.invoices.delete(draft.id).deleted
    invoice = client.v1.invoices.finalize_invoice(sponsor_invoice(client).id)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.delete(invoice.id)
    assert client.v1.invoices.void_invoice(invoice.id).status == "void"
    assert http.post(f"/i/{invoice.id}", data={"method": "card"}).status_code == 400


def test_a_zero_invoice_is_paid_when_finalized(client: stripe.StripeClient) -> None:
    invoice = client.v1.invoices.finalize_invoice(sponsor_invoice(client, amount=0).id)
    assert invoice.status == "paid"
    assert client.v1.invoice_payments.list({"invoice": invoice.id}).data == []
