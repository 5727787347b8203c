"""Refunds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import stripe

from checkout.stripe_client.request import StripeCalls
from contracts.money import Money


@dataclass(frozen=True, kw_only=True)
class StripeRefund:
    """`status` is Stripe's."""

    id: str
    status: str
    amount: Money
    failure: str | None


class RefundCalls(StripeCalls):
    async def create_refund(
        self, *, of: Mapping[str, str], amount: int, metadata: Mapping[str, str], key: str
    ) -> StripeRefund:
        """`of`: {"payment_intent": …} or {"charge": …}. `amount` is minor units of its currency."""
        params = {**of, "amount": amount, "metadata": dict(metadata)}
        async with self._call("create_refund"):
            made = await self._api.v1.refunds.create_async(
                cast(stripe.params.RefundCreateParams, params), {"idempotency_key": key}
            )
        return _refund(made)

    async def find_refund(self, *, of: Mapping[str, str], metadata: Mapping[str, str]) -> StripeRefund | None:
        """The refund of this payment whose metadata contains `metadata`."""
        async with self._call("find_refund"):
            found = await self._api.v1.refunds.list_async(cast(stripe.params.RefundListParams, {**of, "limit": 100}))
            async for refund in found.auto_paging_iter():
                found_metadata = refund.metadata.to_dict() if refund.metadata else {}
                if metadata.items() <= found_metadata.items():
                    return _refund(refund)
        return None

    async def intent_of_invoice(self, invoice_id: str) -> str | None:
        """The intent that paid the invoice."""
        async with self._call("intent_of_invoice"):
            found = await self._api.v1.invoice_payments.list_async({"invoice": invoice_id, "limit": 100})
        paid = [link.payment.payment_intent for link in found.data if link.status == "paid"]
        return next((each if isinstance(each, str) else each.id for each in paid if each), None)


def _refund(refund: stripe.Refund) -> StripeRefund:
    return StripeRefund(
        id=refund.id,
        status=refund.status or "pending",
        amount=Money(amount=refund.amount, currency=refund.currency),
        failure=getattr(refund, "failure_reason", None),
    )
