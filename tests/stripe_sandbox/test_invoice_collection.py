"""Invoices that are charged by `invoices.pay`, one for each amount that falls due, and finished on their own page."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import stripe
from tests.stripe_sandbox.harness import error_of, plain
from tests.stripe_sandbox.in_process import InProcessSandbox

AMOUNT = 97_800


def invoice(sandbox: InProcessSandbox, customer: Any, **params: Any) -> Any:
    """A finalized invoice that nothing charges by itself."""
    draft = sandbox.api.invoices.create(
        {"customer": customer.id, "auto_advance": False, "metadata": {"purchase": "p9"}, **params}
    )
    sandbox.api.invoice_items.create(
        {"customer": customer.id, "invoice": draft.id, "amount": AMOUNT, "currency": "usd", "description": "Month 2"}
    )
    finalized = sandbox.api.invoices.finalize_invoice(
        draft.id, {"auto_advance": False, "expand": ["confirmation_secret"]}
    )
    sandbox.new_events()
    return finalized


def intent_of(sandbox: InProcessSandbox, invoice: Any) -> Any:
    (link,) = sandbox.api.invoice_payments.list({"invoice": invoice.id}).data
    return sandbox.api.payment_intents.retrieve(link.payment.payment_intent)


def card_of(customer: Any) -> str:
    return str(customer.invoice_settings.default_payment_method)


def declined(sandbox: InProcessSandbox, invoice: Any, **params: Any) -> dict[str, Any]:
    with pytest.raises(stripe.CardError) as raised:
        sandbox.api.invoices.pay(invoice.id, params)
    assert raised.value.http_status == 402
    return error_of(raised.value)


def test_it_has_an_intent_of_its_own_and_a_confirmation_secret(sandbox: InProcessSandbox) -> None:
    created = invoice(sandbox, sandbox.customer())
    intent = intent_of(sandbox, created)
    assert (created.status, created.next_payment_attempt, created.due_date) == ("open", None, None)
    assert plain(created.confirmation_secret) == {"client_secret": intent.client_secret, "type": "payment_intent"}
    assert (intent.status, intent.amount) == ("requires_payment_method", AMOUNT)
    assert (plain(intent.metadata), intent.setup_future_usage, intent.automatic_payment_methods) == ({}, None, None)
    assert intent.payment_details.order_reference == created.id


def test_paying_it_off_session(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer()
    created = invoice(sandbox, customer)
    paid = sandbox.api.invoices.pay(created.id, {"payment_method": card_of(customer), "off_session": True})
    assert (paid.status, paid.amount_paid, paid.attempt_count) == ("paid", AMOUNT, 1)
    assert sandbox.types() == [
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
        "payment_intent.succeeded",
        "charge.succeeded",
    ]
    with pytest.raises(stripe.InvalidRequestError, match="already paid") as raised:
        sandbox.api.invoices.pay(created.id, {"payment_method": card_of(customer)})
    assert (raised.value.http_status, raised.value.code) == (400, None)


def test_a_decline_leaves_it_open_and_is_not_retried(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer("pm_card_chargeCustomerFail")
    created = invoice(sandbox, customer)
    sandbox.operate_now(f"/customers/{customer.id}/fail_next_charges", decline_code="stolen_card")
    error = declined(sandbox, created, payment_method=card_of(customer))
    assert (error["type"], error["code"], error["decline_code"]) == ("card_error", "card_declined", "stolen_card")
    assert error["charge"] == intent_of(sandbox, created).latest_charge
    (failed,) = sandbox.of("invoice.payment_failed")
    assert (failed["object"]["attempt_count"], failed["object"]["next_payment_attempt"]) == (1, None)
    sandbox.advance(30 * 86_400)
    assert (sandbox.api.invoices.retrieve(created.id).status, sandbox.types()) == ("open", [])
    other = sandbox.api.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    paid = sandbox.api.invoices.pay(created.id, {"payment_method": other.id})
    assert (paid.status, paid.attempt_count) == ("paid", 2)


def test_required_authentication_is_finished_on_its_page(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer("pm_card_authenticationRequired")
    created = invoice(sandbox, customer)
    error = declined(sandbox, created, payment_method=card_of(customer), off_session=True)
    assert error["code"] == "invoice_payment_intent_requires_action"
    assert sandbox.types() == [
        "payment_intent.requires_action",
        "invoice.payment_failed",
        "invoice.payment_action_required",
    ]
    intent = intent_of(sandbox, created)
    assert intent.status == "requires_action"
    sandbox.operate_now(f"/payment_intents/{intent.id}/authenticate", passed=True)
    paid = sandbox.api.invoices.retrieve(created.id)
    assert (paid.status, paid.attempt_count) == ("paid", 1)


def test_a_failed_authentication_can_be_followed_by_another_card(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer("pm_card_authenticationRequired")
    created = invoice(sandbox, customer)
    declined(sandbox, created)
    sandbox.operate_now(f"/payment_intents/{intent_of(sandbox, created).id}/authenticate", passed=False)
    failed = sandbox.api.invoices.retrieve(created.id)
    assert (failed.status, failed.attempt_count) == ("open", 1)
    assert intent_of(sandbox, created).status == "requires_payment_method"
    sandbox.operate_now(f"/invoices/{created.id}/pay", card="4242 4242 4242 4242")
    assert sandbox.api.invoices.retrieve(created.id).status == "paid"


async def test_the_hosted_page_asks_for_three_d_secure(sandbox: InProcessSandbox) -> None:
    created = invoice(sandbox, sandbox.customer(None))
    transport = httpx.ASGITransport(app=sandbox.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as browser:
        page = await browser.post(f"/i/{created.id}", data={"method": "card", "card": "4000002760003184"})
        action = httpx.URL(page.headers["location"]).path
        assert action == f"/authenticate/{intent_of(sandbox, created).id}"
        back = await browser.post(action, data={"passed": "true"})
        assert back.headers["location"] == f"/i/{created.id}"
        assert "Invoice paid" in (await browser.get(f"/i/{created.id}")).text


def test_its_secret_can_be_confirmed_in_a_front_end(sandbox: InProcessSandbox) -> None:
    created = invoice(sandbox, sandbox.customer(None))
    intent = created.confirmation_secret.client_secret.partition("_secret_")[0]
    sandbox.operate_now(f"/payment_intents/{intent}/pay", card="4242424242424242")
    assert sandbox.api.invoices.retrieve(created.id).status == "paid"


@pytest.mark.parametrize(("end", "status"), [("settle", "paid"), ("fail", "open")])
def test_a_bank_debit_settles_or_fails_later(sandbox: InProcessSandbox, end: str, status: str) -> None:
    customer = sandbox.customer("pm_usBankAccount")
    created = invoice(sandbox, customer)
    pending = sandbox.api.invoices.pay(created.id, {"payment_method": card_of(customer)})
    intent = intent_of(sandbox, created)
    assert (pending.status, pending.attempt_count, intent.status) == ("open", 1, "processing")
    assert sandbox.types() == ["payment_intent.processing", "charge.pending"]
    with pytest.raises(stripe.InvalidRequestError) as raised:
        sandbox.api.invoices.pay(created.id, {"payment_method": card_of(customer)})
    assert raised.value.code == "payment_intent_unexpected_state"
    with pytest.raises(stripe.InvalidRequestError, match="cannot void"):
        sandbox.api.invoices.void_invoice(created.id)
    sandbox.operate_now(f"/payment_intents/{intent.id}/{end}")
    ended = sandbox.api.invoices.retrieve(created.id)
    assert (ended.status, ended.attempt_count, ended.next_payment_attempt) == (status, 1, None)
    assert ("invoice.payment_failed" in sandbox.types()) == (end == "fail")


def test_a_debit_that_settles_after_it_was_paid_elsewhere_is_credited(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer("pm_usBankAccount")
    created = invoice(sandbox, customer)
    sandbox.api.invoices.pay(created.id)
    sandbox.api.invoices.pay(created.id, {"paid_out_of_band": True})
    sandbox.new_events()
    sandbox.operate_now(f"/payment_intents/{intent_of(sandbox, created).id}/settle")
    (overpaid,) = sandbox.of("invoice.overpaid")
    assert (overpaid["object"]["amount_overpaid"], overpaid["object"]["status"]) == (AMOUNT, "paid")
    assert sandbox.api.customers.retrieve(customer.id).balance == -AMOUNT


def test_a_method_of_nobody_or_of_somebody_else_is_refused(sandbox: InProcessSandbox) -> None:
    created = invoice(sandbox, sandbox.customer())
    for other in (card_of(sandbox.customer()), "pm_card_visa"):
        with pytest.raises(stripe.InvalidRequestError, match="must be attached to the customer"):
            sandbox.api.invoices.pay(created.id, {"payment_method": other})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"collection_method": "send_invoice", "days_until_due": 30}, "Missing email"),
        ({"collection_method": "send_invoice"}, "you must specify 'due_date'"),
        ({"days_until_due": 30}, "if invoice collection_method is 'send_invoice'"),
        ({"collection_method": "send_invoice", "due_date": 1_700_000_000}, "must be in the future"),
    ],
)
def test_terms_that_cannot_be_met_are_refused(sandbox: InProcessSandbox, params: dict[str, Any], message: str) -> None:
    email = {} if message == "Missing email" else {"email": "finance@sponsor.example"}
    customer = sandbox.api.customers.create({"name": "Sponsor", **email})
    with pytest.raises(stripe.InvalidRequestError, match=message):
        sandbox.api.invoices.create({"customer": customer.id, **params})
