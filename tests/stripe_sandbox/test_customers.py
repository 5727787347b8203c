"""Customers, their payment methods, and the portal."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import stripe
from tests.stripe_sandbox.in_process import DAY, InProcessSandbox


def test_concurrent_requests_with_one_key_create_one_customer(client: stripe.StripeClient) -> None:
    def create(_: int) -> str | None:
        options: stripe.RequestOptions = {"idempotency_key": "customer-of-ada"}
        try:
            return client.v1.customers.create({"email": "once@example.org"}, options).id
        except stripe.StripeError as error:
            assert error.code == "idempotency_key_in_use"
            return None

    with ThreadPoolExecutor(20) as pool:
        created = set(pool.map(create, range(60))) - {None}
    assert len(created) == 1
    assert [c.id for c in client.v1.customers.list({"email": "once@example.org"}).data] == list(created)


def test_the_default_card_must_be_attached_to_the_customer(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer(None)
    card = sandbox.api.payment_methods.attach("pm_card_mastercard", {"customer": customer.id})
    sandbox.new_events()
    chosen = {"invoice_settings": {"default_payment_method": card.id}, "metadata": {"purchase": "p1"}}
    changed = sandbox.api.customers.update(customer.id, chosen)
    assert changed.invoice_settings.default_payment_method == card.id
    (data,) = sandbox.of("customer.updated")
    assert data["previous_attributes"] == {
        "invoice_settings": {"default_payment_method": None},
        "metadata": {"purchase": None},
    }
    expanded = sandbox.api.customers.retrieve(customer.id, {"expand": ["invoice_settings.default_payment_method"]})
    assert expanded.invoice_settings.default_payment_method.card.brand == "mastercard"
    assert sandbox.api.customers.payment_methods.retrieve(customer.id, card.id).id == card.id
    stranger = sandbox.api.payment_methods.attach("pm_card_visa", {"customer": sandbox.customer(None).id})
    with pytest.raises(stripe.InvalidRequestError, match="must be attached"):
        sandbox.api.customers.update(customer.id, {"invoice_settings": {"default_payment_method": stranger.id}})
    for found in (
        sandbox.api.customers.payment_methods.list(customer.id).data,
        sandbox.api.payment_methods.list({"customer": customer.id, "type": "card"}).data,
    ):
        assert [method.id for method in found] == [card.id]


def test_a_portal_session_has_the_return_url(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer()
    given = {"customer": customer.id, "return_url": "https://school.example/account"}
    session = sandbox.api.billing_portal.sessions.create(given)
    assert (session.return_url, session.customer) == (given["return_url"], customer.id)
    assert session.url.endswith(f"/p/session/{session.id}")


def test_a_deleted_customer_is_marked_and_no_longer_billed(sandbox: InProcessSandbox) -> None:
    customer = sandbox.customer()
    sandbox.api.subscriptions.create({"customer": customer.id, "items": [{"price": sandbox.price(10_000)}]})
    sandbox.advance(31 * DAY)
    assert sandbox.api.customers.delete(customer.id).deleted
    assert sandbox.api.customers.retrieve(customer.id).to_dict() == {
        "id": customer.id,
        "object": "customer",
        "deleted": True,
    }
    sandbox.new_events()
    sandbox.advance(60 * DAY)
    assert sandbox.types() == []
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        sandbox.api.payment_intents.create({"amount": 1_000, "currency": "usd", "customer": customer.id})
