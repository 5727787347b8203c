"""The in-process sandbox for tests without a server."""

from __future__ import annotations

import json
from typing import Any

import stripe
from tests.stripe_sandbox.harness import WEBHOOK_SECRET

from stripe_sandbox.in_process import InProcess

HOUR, DAY, YEAR = 3_600, 86_400, 365 * 86_400


class InProcessSandbox(InProcess):
    """The in-process sandbox with helpers for its webhooks and common objects."""

    @property
    def api(self) -> Any:
        return self.client.v1

    def new_events(self) -> list[dict[str, Any]]:
        """Events since the last call, with verified signatures."""
        taken = self.take(WEBHOOK_SECRET)
        for webhook in taken:
            assert webhook.signature is not None
            stripe.WebhookSignature.verify_header(webhook.body.encode(), webhook.signature, WEBHOOK_SECRET, 300)
        return [json.loads(webhook.body) for webhook in taken]

    def types(self) -> list[str]:
        """Types of new events, without those of the catalog and test clocks."""
        types = [event["type"] for event in self.new_events()]
        return [kind for kind in types if not kind.startswith(("product.", "price.", "test_helpers."))]

    def of(self, type: str) -> list[dict[str, Any]]:
        """`data` of new events of a type."""
        return [event["data"] for event in self.new_events() if event["type"] == type]

    def advance(self, seconds: int) -> None:
        self.operate_now("/clock/advance", seconds=seconds)

    def customer(self, card: str | None = "pm_card_visa", **params: Any) -> Any:
        """A customer with a default card, or without one if `card` is None."""
        default = {"invoice_settings": {"default_payment_method": card}}
        given = {"payment_method": card, **default} if card else {}
        return self.api.customers.create({"email": "ada@example.org", **given, **params})

    def price(self, amount: int, interval: str | None = "month") -> str:
        recurring: Any = {"recurring": {"interval": interval}} if interval else {}
        data = {"currency": "usd", "unit_amount": amount, "product_data": {"name": "Enrollment"}, **recurring}
        return str(self.api.prices.create(data).id)

    def balance_transactions(self) -> list[Any]:
        """All balance transactions, newest first, page by page."""
        return list(self.api.balance_transactions.list({"limit": 3}).auto_paging_iter())
