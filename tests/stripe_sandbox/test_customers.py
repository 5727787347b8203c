"""Customers, their payment methods, and the portal."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import stripe
from tests.stripe_sandbox.inside import DAY, Inside


def test_one_key_makes_one_customer_however_many_ask(client: stripe.StripeClient) -> None:
    def create(_: int) -> str | None:
        options: stripe.RequestOptions = {"idempotency_key": "customer-of-ada"}
        try:
            return client.v1.customers.create({"email": "once@example.org"}, options).id
        except stripe.StripeError as error:
            assert error.code == "idempotency_key_in_use"
            return None

    with ThreadPoolExecutor(20) as pool:
        made = set(pool.map(create, range(60))) - {None}
    assert len(made) == 1
    assert [c.id for c in client.v1.customers.list({"email": "once@example.org"}).data] == list(made)


def test_the_default_card_is_one_of_the_customers_own(inside: Inside) -> None:
    customer = inside.customer(None)
    card = inside.api.payment_methods.attach("pm_card_mastercard", {"customer": customer.id})
    inside.told()
    chosen = {"invoice_settings": {"default_payment_method": card.id}, "metadata": {"purchase": "p1"}}
    changed = inside.api.customers.update(customer.id, chosen)
    assert changed.invoice_settings.default_payment_method == card.id
    (data,) = inside.of("customer.updated")
    assert data["previous_attributes"] == {
        "invoice_settings": {"default_payment_method": None},
        "metadata": {"purchase": None},
    }
    expanded = inside.api.customers.retrieve(customer.id, {"expand": ["invoice_settings.default_payment_method"]})
    assert expanded.invoice_settings.default_payment_method.card.brand == "mastercard"
    assert inside.api.customers.payment_methods.retrieve(customer.id, card.id).id == card.id
    stranger = inside.api.payment_methods.attach("pm_card_visa", {"customer": inside.customer(None).id})
    with pytest.raises(stripe.InvalidRequestError, match="must be attached"):
        inside.api.customers.update(customer.id, {"invoice_settings": {"default_payment_method": stranger.id}})
    for found in (
        inside.api.customers.payment_methods.list(customer.id).data,
        inside.api.payment_methods.list({"customer": customer.id, "type": "card"}).data,
    ):
        assert [method.id for method in found] == [card.id]


def test_the_portal_leads_back(inside: Inside) -> None:
    customer = inside.customer()
    given = {"customer": customer.id, "return_url": "https://school.example/account"}
    session = inside.api.billing_portal.sessions.create(given)
    assert (session.return_url, session.customer) == (given["return_url"], customer.id)
    assert session.url.endswith(f"/p/session/{session.id}")


def test_a_deleted_customer_says_so_and_owes_nothing_more(inside: Inside) -> None:
    customer = inside.customer()
    inside.api.subscriptions.create({"customer": customer.id, "items": [{"price": inside.price(10_000)}]})
    inside.advance(31 * DAY)
    assert inside.api.customers.delete(customer.id).deleted
    assert inside.api.customers.retrieve(customer.id).to_dict() == {
        "id": customer.id,
        "object": "customer",
        "deleted": True,
    }
    inside.told()
    inside.advance(60 * DAY)
    assert inside.types() == []
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        inside.api.payment_intents.create({"amount": 1_000, "currency": "usd", "customer": customer.id})
