"""The account that the cases are made against: Stripe's test mode with a key, else the sandbox."""

from __future__ import annotations

import os
from typing import Any
from uuid import uuid4

import stripe

from stripe_sandbox.in_process import InProcess

RETURN_URL = "https://school.example/back"


class Account:
    """`v1` is the official SDK. Objects are small, disposable and in US dollars, unless a case says otherwise."""

    def __init__(
        self, client: stripe.StripeClient, browser: stripe.StripeClient | None, sandbox: InProcess | None
    ) -> None:
        # Any: the cases pass parameters that the SDK's types refuse.
        self.v1: Any = client.v1
        self._browser = browser
        self._sandbox = sandbox

    @classmethod
    def of_environment(cls) -> Account:
        """Raises ValueError for a key of live mode."""
        key = os.environ.get("STRIPE_TEST_KEY", "")
        if not key:
            sandbox = InProcess()
            return cls(sandbox.client, sandbox.browser, sandbox)
        if not key.startswith(("sk_test_", "rk_test_")):
            raise ValueError("STRIPE_TEST_KEY must be a key of Stripe's test mode (sk_test_… or rk_test_…).")
        publishable = os.environ.get("STRIPE_TEST_PUBLISHABLE_KEY", "")
        browser = stripe.StripeClient(publishable, max_network_retries=2) if publishable else None
        return cls(stripe.StripeClient(key, max_network_retries=2), browser, None)

    @property
    def is_sandbox(self) -> bool:
        return self._sandbox is not None

    @property
    def has_browser(self) -> bool:
        """Whether there is a publishable key."""
        return self._browser is not None

    @property
    def browser(self) -> Any:
        """As `v1`, with the publishable key."""
        assert self._browser is not None
        return self._browser.v1

    def operate(self, path: str, **body: Any) -> Any:
        """An action of a customer or a bank, which only the sandbox can be asked for."""
        assert self._sandbox is not None
        return self._sandbox.operate_now(path, **body)

    def customer(self, card: str | None = "pm_card_visa", **params: Any) -> Any:
        """A customer with a default card, or without one if `card` is None."""
        default = {"payment_method": card, "invoice_settings": {"default_payment_method": card}} if card else {}
        return self.v1.customers.create({"email": "conformance@example.org", **default, **params})

    def card_of(self, customer: Any) -> str:
        return str(customer.invoice_settings.default_payment_method)

    def attached(self, customer: Any, method: str) -> str:
        return str(self.v1.payment_methods.attach(method, {"customer": customer.id}).id)

    def price(self, amount: int = 4_900, interval: str | None = "month", currency: str = "usd", **params: Any) -> str:
        recurring = {"recurring": {"interval": interval}} if interval else {}
        data = {"currency": currency, "unit_amount": amount, "product_data": {"name": "Conformance"}}
        return str(self.v1.prices.create({**data, **recurring, **params}).id)

    def intent(self, **params: Any) -> Any:
        return self.v1.payment_intents.create({"amount": 5_000, "currency": "usd", **params})

    def charge(self, **params: Any) -> Any:
        """A paid intent."""
        paid = {"payment_method": "pm_card_visa", "confirm": True, "return_url": RETURN_URL}
        return self.intent(**{**paid, **params})

    def session(self, **params: Any) -> Any:
        line = {"price": self.price(interval=None), "quantity": 1}
        page = {"mode": "payment", "line_items": [line], "success_url": RETURN_URL}
        return self.v1.checkout.sessions.create({**page, **params})

    def membership_page(self, **params: Any) -> Any:
        return self.session(
            **{"mode": "subscription", "line_items": [{"price": self.price(), "quantity": 1}], **params}
        )

    def invoice(self, customer: Any, amount: int = 97_800, **params: Any) -> Any:
        """A finalized invoice that nothing charges by itself."""
        draft = self.v1.invoices.create({"customer": customer.id, "auto_advance": False, **params})
        item = {"customer": customer.id, "invoice": draft.id, "amount": amount, "currency": "usd"}
        self.v1.invoice_items.create(item)
        expand = {"auto_advance": False, "expand": ["confirmation_secret", "payments"]}
        return self.v1.invoices.finalize_invoice(draft.id, expand)

    def intent_of(self, invoice: Any) -> Any:
        (link,) = self.v1.invoice_payments.list({"invoice": invoice.id}).data
        return self.v1.payment_intents.retrieve(link.payment.payment_intent)

    def subscription(self, customer: Any, **params: Any) -> Any:
        return self.v1.subscriptions.create({"customer": customer.id, "items": [{"price": self.price()}], **params})

    def key(self) -> dict[str, str]:
        """Options with a new idempotency key."""
        return {"idempotency_key": f"conformance-{uuid4()}"}
