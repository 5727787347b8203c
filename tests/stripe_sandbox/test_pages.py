"""The HTML pages, as requested by a browser without JavaScript."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
import stripe
from tests.stripe_sandbox.harness import Operator, Receiver, monthly, new_session


class Fields(HTMLParser):
    """The inputs, labels and scripts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.labeled: set[str] = set()
        self.controls: list[dict[str, str | None]] = []
        self.scripts = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "label" and given.get("for"):
            self.labeled.add(str(given["for"]))
        if tag in ("input", "select") and given.get("type") != "hidden":
            self.controls.append(given)
        self.scripts += tag == "script"

    def unlabeled(self) -> list[dict[str, str | None]]:
        return [c for c in self.controls if c.get("id") not in self.labeled and not c.get("aria-label")]


@pytest.fixture
def pages(client: stripe.StripeClient, operator: Operator) -> dict[str, str]:
    """A path of each kind of page, with content."""
    session = new_session(client, allow_promotion_codes=True)
    plan = new_session(client, mode="subscription", line_items=[{"price": monthly(client), "quantity": 1}])
    operator.pay(plan.id)
    done: Any = client.v1.checkout.sessions.retrieve(plan.id)
    draft = client.v1.invoices.create(
        {"customer": done.customer, "collection_method": "send_invoice", "days_until_due": 7}
    )
    client.v1.invoice_items.create({"customer": done.customer, "invoice": draft.id, "amount": 5_000})
    client.v1.invoices.finalize_invoice(draft.id)
    portal = client.v1.billing_portal.sessions.create({"customer": done.customer, "return_url": "https://s.example"})
    waiting = operator.pay(new_session(client).id, card="4000002500003155")
    return {
        "checkout": f"/c/pay/{session.id}",
        "complete": f"/c/pay/{plan.id}",
        "invoice": f"/i/{draft.id}",
        "portal": httpx.URL(portal.url).path,
        "authenticate": httpx.URL(waiting["redirect_url"]).path,
        "operator": "/sandbox",
        "subscription": done.subscription,
    }


def test_every_control_has_a_label_and_no_page_has_scripts(http: httpx.Client, pages: dict[str, str]) -> None:
    for name, path in pages.items():
        if name == "subscription":
            continue
        page = http.get(path)
        assert page.status_code == 200, name
        fields = Fields(page.text)
        assert fields.unlabeled() == [] and fields.scripts == 0, name
        assert '<html lang="en">' in page.text and re.search(r"<title>[^<]+</title>", page.text)


def test_pages_of_missing_objects_are_a_404(http: httpx.Client) -> None:
    for path in ("/c/pay/cs_gone", "/i/in_gone", "/p/session/bps_gone", "/authenticate/pi_gone", "/receipts/ch_gone"):
        assert http.get(path).status_code == 404


def test_names_are_escaped(client: stripe.StripeClient, http: httpx.Client) -> None:
    evil: Any = {
        "quantity": 1,
        "price_data": {"currency": "usd", "unit_amount": 100, "product_data": {"name": "<script>alert(1)</script>"}},
    }
    page = http.get(f"/c/pay/{new_session(client, line_items=[evil]).id}").text
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_the_email_is_required_unless_prefilled(client: stripe.StripeClient, http: httpx.Client) -> None:
    session = new_session(client)
    rejected = http.post(f"/c/pay/{session.id}", data={"method": "card", "card": "4242424242424242"})
    assert rejected.status_code == 400 and "email" in rejected.text
    prefilled = new_session(client, customer_email="ada@example.org")
    assert "ada@example.org" in http.get(f"/c/pay/{prefilled.id}").text
    paid = http.post(f"/c/pay/{prefilled.id}", data={"method": "card", "card": "4242424242424242"})
    assert paid.status_code == 303


def test_the_portal_cancels_a_plan_and_changes_the_card(
    client: stripe.StripeClient, http: httpx.Client, pages: dict[str, str]
) -> None:
    assert http.post(f"{pages['portal']}/card", data={"card": "1234"}).status_code == 402
    assert http.post(f"{pages['portal']}/card", data={"card": "5555 5555 5555 4444"}).status_code == 303
    assert "mastercard ending in 4444" in http.get(pages["portal"]).text
    canceled = http.post(f"{pages['portal']}/cancel", data={"subscription": pages["subscription"]})
    assert canceled.status_code == 303
    assert client.v1.subscriptions.retrieve(pages["subscription"]).cancel_at_period_end


def test_the_operator_page_works_with_plain_forms(
    client: stripe.StripeClient, http: httpx.Client, operator: Operator, receiver: Receiver
) -> None:
    session = new_session(client)
    intent = operator.pay(session.id, method="us_bank_account")["payment_intent"]
    page = http.get("/sandbox").text
    assert f'action="/sandbox/api/payment_intents/{intent}/settle"' in page
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    settled = http.post(f"/sandbox/api/payment_intents/{intent}/settle", headers=form)
    assert settled.status_code == 303 and settled.headers["location"].endswith("/sandbox")
    charge = client.v1.charges.list({"payment_intent": intent}).data[0].id
    too_much = http.post(f"/sandbox/api/charges/{charge}/refund", data={"amount": "99999999", "status": "succeeded"})
    assert "greater than unrefunded" in http.get(too_much.headers["location"]).text
    everything = http.post(f"/sandbox/api/charges/{charge}/refund", data={"amount": "", "status": "succeeded"})
    assert everything.status_code == 303
    assert client.v1.charges.retrieve(charge).refunded
    assert "charge.refunded" in http.get("/sandbox").text
    receipt: Any = client.v1.charges.retrieve(charge).receipt_url
    assert "refunded $4,890.00" in http.get(httpx.URL(receipt).path).text


def test_a_decline_keeps_the_submitted_values(client: stripe.StripeClient, http: httpx.Client) -> None:
    session = new_session(client)
    form = {"method": "card", "card": "4000 0000 0000 0002", "name": "Ada <L>", "email": "ada@example.org"}
    declined = http.post(f"/c/pay/{session.id}", data=form)
    assert declined.status_code == 402 and "declined" in declined.text
    for page in (declined.text, http.get(f"/c/pay/{session.id}").text):
        assert {'value="4000 0000 0000 0002"', 'value="Ada &lt;L&gt;"', 'value="ada@example.org"'} <= set(
            re.findall(r'value="[^"]*"', page)
        )
        assert 'value="4242 4242 4242 4242"' not in page
    refused = http.post(f"/c/pay/{session.id}", data={**form, "method": "klarna", "authorize": "false"})
    assert 'value="klarna" checked' in refused.text and 'value="card" checked' not in refused.text
    assert '<option value="false" selected>' in refused.text


def test_a_declined_invoice_payment_keeps_the_submitted_values(
    client: stripe.StripeClient, http: httpx.Client, pages: dict[str, str]
) -> None:
    declined = http.post(pages["invoice"], data={"method": "card", "card": "4000000000000002", "name": "Ada"})
    assert declined.status_code == 402
    assert 'value="4000000000000002"' in declined.text and 'value="Ada"' in declined.text


def test_the_operator_page_links_charges_to_customers_and_sessions(
    client: stripe.StripeClient, http: httpx.Client, operator: Operator
) -> None:
    session = new_session(client)
    operator.pay(session.id, email="buyer@example.org")
    done: Any = client.v1.checkout.sessions.retrieve(session.id)
    charge = client.v1.charges.list({"payment_intent": done.payment_intent}).data[0].id
    page = http.get("/sandbox").text
    row = re.search(rf'<tr id="{charge}">.*?</tr>', page, re.DOTALL)
    assert row and "buyer@example.org" in row[0] and "Barber apprenticeship" in row[0]
    assert f'href="#{session.id}"' in row[0]
    completed = re.search(rf'<tr id="{session.id}">.*?</tr>', page, re.DOTALL)
    assert completed and f'href="#{charge}"' in completed[0]


def test_the_operator_page_works_after_a_test_clock_was_deleted(
    client: stripe.StripeClient, http: httpx.Client, operator: Operator
) -> None:
    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": 1_800_000_000})
    customer = client.v1.customers.create({"test_clock": clock.id, "email": "clocked@example.org"})
    line: Any = {"price": monthly(client), "quantity": 1}
    operator.pay(new_session(client, mode="subscription", line_items=[line], customer=customer.id).id)
    client.v1.test_helpers.test_clocks.delete(clock.id)
    assert http.get("/sandbox").status_code == 200


def test_a_subscription_invoice_names_the_product_and_is_listed_when_paid(
    client: stripe.StripeClient, http: httpx.Client, operator: Operator
) -> None:
    plan = new_session(client, mode="subscription", line_items=[{"price": monthly(client), "quantity": 1}])
    operator.pay(plan.id)
    done: Any = client.v1.checkout.sessions.retrieve(plan.id, {"expand": ["invoice"]})
    assert done.invoice.lines.data[0].description == "1 × Barber apprenticeship, installment"
    page = http.get("/sandbox").text
    row = re.search(rf'<tr><td><a href="/i/{done.invoice.id}">.*?</tr>', page, re.DOTALL)
    assert row and "<td>paid</td>" in row[0] and "ada@example.org" in row[0]


def test_invalid_operator_requests_are_explained(operator: Operator) -> None:
    assert operator.do("/sessions/cs_gone/pay", status=404)["error"]["code"] == "resource_missing"
    assert operator.do("/clock/advance", status=400, seconds=0)["error"]["param"] == "seconds"
    assert operator.do("/clock/advance", status=400, hours=1)["error"]["param"]
    assert operator.http.post("/sandbox/api/clock/advance", content=b"{").status_code == 400
