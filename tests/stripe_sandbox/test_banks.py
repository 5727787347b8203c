"""What banks and card issuers do: returned debits, mandates, micro-deposits, appeals and fraud warnings."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import stripe
from tests.stripe_sandbox.harness import RETURN_URL, SUCCESS
from tests.stripe_sandbox.in_process import InProcessSandbox


def charged(sandbox: InProcessSandbox, **form: Any) -> dict[str, Any]:
    """The charge of an intent that was paid in a browser."""
    intent = sandbox.api.payment_intents.create(
        {"amount": 97_800, "currency": "usd", "metadata": {"purchase": "p4"}, "customer": sandbox.customer(None).id}
    )
    paid = sandbox.operate_now(f"/payment_intents/{intent.id}/pay", **form)
    if paid["status"] == "processing":
        sandbox.operate_now(f"/payment_intents/{intent.id}/settle")
    succeeded = sandbox.of("charge.succeeded")
    return dict(succeeded[-1]["object"])


def saved_bank_account(sandbox: InProcessSandbox) -> tuple[Any, str]:
    """(customer, payment method with an active mandate)"""
    customer = sandbox.customer("pm_usBankAccount")
    account = str(customer.invoice_settings.default_payment_method)
    debited(sandbox, customer, account)
    return customer, account


def debited(sandbox: InProcessSandbox, customer: Any, account: str) -> Any:
    order = {"amount": 97_800, "currency": "usd", "customer": customer.id, "payment_method": account}
    return sandbox.api.payment_intents.create({**order, "confirm": True, "off_session": True, "return_url": RETURN_URL})


@pytest.mark.parametrize(
    ("form", "details"),
    [
        ({"card": "4242 4242 4242 4242"}, {"brand": "visa", "last4": "4242", "wallet": None}),
        ({"card": "5555 5555 5555 4444", "wallet": "apple_pay"}, {"brand": "mastercard", "last4": "4444"}),
        ({"method": "us_bank_account"}, {"bank_name": "STRIPE TEST BANK", "last4": "6789"}),
        ({"method": "klarna"}, {"payment_method_category": None}),
        ({"method": "link"}, {"country": None}),
    ],
)
def test_a_charge_describes_its_method(
    sandbox: InProcessSandbox, form: dict[str, Any], details: dict[str, Any]
) -> None:
    charge = charged(sandbox, **form)
    described = charge["payment_method_details"]
    assert described["type"] == form.get("method", "card")
    assert details.items() <= described[described["type"]].items()
    assert charge["metadata"] == {"purchase": "p4"}
    if "wallet" in form:
        assert described["card"]["wallet"] == {"type": "apple_pay", "apple_pay": {}, "dynamic_last4": None}


def test_a_late_return_is_a_lost_dispute(sandbox: InProcessSandbox) -> None:
    charge = charged(sandbox, method="us_bank_account")
    returned = sandbox.operate_now(f"/charges/{charge['id']}/return")
    assert (returned["status"], returned["reason"], returned["amount"]) == ("lost", "insufficient_funds", 97_800)
    types = ["charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.closed"]
    assert sandbox.types() == types
    mandate = charge["payment_method_details"]["us_bank_account"]["mandate"]
    assert sandbox.api.mandates.retrieve(mandate).status == "active"
    with pytest.raises(httpx.HTTPStatusError):
        sandbox.operate_now(f"/disputes/{returned['id']}/appeal")
    with pytest.raises(stripe.InvalidRequestError, match="charged back"):
        sandbox.api.refunds.create({"charge": charge["id"]})


@pytest.mark.parametrize("reason", ["customer_initiated", "debit_not_authorized"])
def test_a_return_by_the_customer_revokes_the_mandate(sandbox: InProcessSandbox, reason: str) -> None:
    customer, account = saved_bank_account(sandbox)
    intent = debited(sandbox, customer, account)
    sandbox.operate_now(f"/payment_intents/{intent.id}/settle")
    (charge,) = sandbox.of("charge.succeeded")
    sandbox.operate_now(f"/charges/{charge['object']['id']}/return", reason=reason)
    (mandate,) = sandbox.of("mandate.updated")
    assert (mandate["object"]["status"], mandate["previous_attributes"]) == ("inactive", {"status": "active"})
    with pytest.raises(stripe.InvalidRequestError) as raised:
        debited(sandbox, customer, account)
    assert raised.value.code == "payment_intent_mandate_invalid"


def test_the_operator_revokes_a_mandate(sandbox: InProcessSandbox) -> None:
    customer, account = saved_bank_account(sandbox)
    sandbox.operate_now(f"/mandates/{account}/revoke")
    assert "mandate.updated" in sandbox.types()
    draft = sandbox.api.invoices.create({"customer": customer.id})
    sandbox.api.invoice_items.create({"customer": customer.id, "invoice": draft.id, "amount": 5_000, "currency": "usd"})
    with pytest.raises(stripe.InvalidRequestError) as raised:
        sandbox.api.invoices.pay(draft.id, {"payment_method": account})
    assert raised.value.code == "payment_intent_mandate_invalid"
    assert sandbox.api.invoices.retrieve(draft.id).status == "open"


@pytest.mark.parametrize(("amounts", "status"), [([32, 45], "processing"), ([1, 2], "requires_payment_method")])
def test_micro_deposits_take_days(sandbox: InProcessSandbox, amounts: list[int], status: str) -> None:
    intent = sandbox.api.payment_intents.create({"amount": 97_800, "currency": "usd"})
    pending = sandbox.operate_now(
        f"/payment_intents/{intent.id}/pay", method="us_bank_account", account="microdeposits"
    )
    assert pending["next_action"]["type"] == "verify_with_microdeposits"
    sandbox.advance(2 * 86_400)
    verified = sandbox.api.payment_intents.verify_microdeposits(intent.id, {"amounts": amounts})
    assert verified.status == status


def test_a_session_is_complete_while_micro_deposits_are_pending(sandbox: InProcessSandbox) -> None:
    line = {"quantity": 1, "price": sandbox.price(97_800, None)}
    session = sandbox.api.checkout.sessions.create({"mode": "payment", "line_items": [line], "success_url": SUCCESS})
    form = {"method": "us_bank_account", "account": "microdeposits", "email": "ada@example.org"}
    paid = sandbox.operate_now(f"/sessions/{session.id}/pay", **form)
    assert (paid["session"]["status"], paid["session"]["payment_status"]) == ("complete", "unpaid")
    sandbox.operate_now(f"/payment_intents/{paid['payment_intent']}/authenticate", passed=True)
    sandbox.operate_now(f"/payment_intents/{paid['payment_intent']}/settle")
    assert sandbox.types()[-1] == "checkout.session.async_payment_succeeded"


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_a_lost_dispute_can_be_appealed(sandbox: InProcessSandbox, outcome: str) -> None:
    charge = charged(sandbox)
    dispute = sandbox.operate_now(f"/charges/{charge['id']}/dispute")["id"]
    sandbox.operate_now(f"/disputes/{dispute}/close", status="lost")
    sandbox.new_events()
    assert sandbox.operate_now(f"/disputes/{dispute}/appeal")["status"] == "appeal_needs_response"
    with pytest.raises(stripe.InvalidRequestError, match="appeal stage"):
        sandbox.api.disputes.update(dispute, {"evidence": {"customer_name": "Ada"}})
    appeal: Any = {"appeal": {"card": {"reason_for_filing": "New evidence", "supporting_files": ["file_1"]}}}
    assert sandbox.api.disputes.update(dispute, {"evidence": appeal}).status == "appeal_under_review"
    assert sandbox.operate_now(f"/disputes/{dispute}/close", status=outcome)["status"] == outcome
    reinstated = ["charge.dispute.funds_reinstated"] if outcome == "won" else []
    assert sandbox.types() == [*["charge.dispute.updated"] * 2, "charge.dispute.closed", *reinstated]


def test_appeal_evidence_without_an_appeal_is_refused(sandbox: InProcessSandbox) -> None:
    dispute = sandbox.operate_now(f"/charges/{charged(sandbox)['id']}/dispute")["id"]
    appeal: Any = {"appeal": {"card": {"reason_for_filing": "New evidence", "supporting_files": ["file_1"]}}}
    with pytest.raises(stripe.InvalidRequestError, match="appeal_needs_response"):
        sandbox.api.disputes.update(dispute, {"evidence": appeal})


def test_an_issuer_warns_of_fraud(sandbox: InProcessSandbox) -> None:
    charge = charged(sandbox)
    sandbox.operate_now(f"/charges/{charge['id']}/fraud_warning")
    (warning,) = sandbox.of("radar.early_fraud_warning.created")
    assert (warning["object"]["charge"], warning["object"]["actionable"]) == (charge["id"], True)
    (listed,) = sandbox.api.radar.early_fraud_warnings.list({"charge": charge["id"]}).data
    assert listed.id == warning["object"]["id"]


def test_a_failed_finalization_leaves_a_draft(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer()
    draft = sandbox.api.invoices.create({"customer": customer.id, "automatic_tax": {"enabled": True}})
    sandbox.api.invoice_items.create({"customer": customer.id, "invoice": draft.id, "amount": 5_000, "currency": "usd"})
    sandbox.operate_now(f"/customers/{customer.id}/fail_next_finalization")
    with pytest.raises(stripe.InvalidRequestError) as raised:
        sandbox.api.invoices.finalize_invoice(draft.id)
    assert raised.value.code == "customer_tax_location_invalid"
    (failed,) = sandbox.of("invoice.finalization_failed")
    assert failed["object"]["last_finalization_error"]["code"] == "customer_tax_location_invalid"
    finalized = sandbox.api.invoices.finalize_invoice(draft.id)
    assert (finalized.status, finalized.last_finalization_error) == ("open", None)


def test_the_operator_deletes_a_customer(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer()
    subscription = sandbox.api.subscriptions.create(
        {"customer": customer.id, "items": [{"price": sandbox.price(4_900)}]}
    )
    sandbox.new_events()
    sandbox.operate_now(f"/customers/{customer.id}/delete")
    assert sandbox.types() == ["customer.subscription.deleted", "customer.deleted"]
    assert sandbox.api.subscriptions.retrieve(subscription.id).status == "canceled"
    assert sandbox.api.customers.retrieve(customer.id).deleted
