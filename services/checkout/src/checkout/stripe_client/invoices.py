"""Invoices that Stripe sends: one amount, and a hosted page on which it can be paid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import stripe

from checkout.stripe_client.request import StripeCalls, StripeRejected, id_of
from contracts.money import Money


@dataclass(frozen=True, kw_only=True)
class SentInvoice:
    """`url`: where it can be paid; None for a draft."""

    id: str
    status: Literal["draft", "open", "paid", "uncollectible", "void"]
    url: str | None


class InvoiceCalls(StripeCalls):
    async def draft_invoice(
        self,
        *,
        customer_id: str,
        amount: Money,
        description: str,
        days_until_due: int,
        metadata: Mapping[str, str],
        key: str,
    ) -> SentInvoice:
        """A draft of this amount, which cannot be paid yet; the same one for the same key."""
        async with self._call("draft_invoice"):
            invoice = await self._api.v1.invoices.create_async(
                {
                    "customer": customer_id,
                    "currency": amount.currency,
                    "collection_method": "send_invoice",
                    "days_until_due": days_until_due,
                    "auto_advance": False,
                    "pending_invoice_items_behavior": "exclude",
                    "description": description[:500],
                    "metadata": dict(metadata),
                },
                {"idempotency_key": f"{key}/invoice"},
            )
            await self._api.v1.invoice_items.create_async(
                {
                    "customer": customer_id,
                    "invoice": invoice.id,
                    "amount": amount.amount,
                    "currency": amount.currency,
                    "description": description[:500],
                },
                {"idempotency_key": f"{key}/item"},
            )
            return _sent(invoice)

    async def send_invoice(self, id: str, *, key: str) -> SentInvoice:
        """Finalizes the draft and has Stripe mail it. An open invoice is mailed again, as it may not have been mailed;
        one that is paid or void is returned unchanged."""
        async with self._call("send_invoice"):
            invoices = self._api.v1.invoices
            invoice = await invoices.retrieve_async(id)
            if invoice.status not in ("draft", "open"):
                return _sent(invoice)
            if invoice.status == "draft":
                await invoices.finalize_invoice_async(
                    id, {"auto_advance": False}, {"idempotency_key": f"{key}/finalize"}
                )
            return _sent(await invoices.send_invoice_async(id, None, {"idempotency_key": f"{key}/send"}))

    async def sent_invoice(self, id: str) -> SentInvoice:
        async with self._call("sent_invoice"):
            return _sent(await self._api.v1.invoices.retrieve_async(id))

    async def invoice_in_progress(self, id: str) -> bool:
        """Whether a debit that takes days is in progress for it."""
        async with self._call("invoice_under_way"):
            links = await self._api.v1.invoice_payments.list_async({"invoice": id, "limit": 10})
            for link in links.data:
                if link.payment.payment_intent is None:
                    continue
                intent = await self._api.v1.payment_intents.retrieve_async(id_of(link.payment.payment_intent))
                if intent.status == "processing":
                    return True
        return False

    async def end_invoice(self, id: str, *, key: str) -> SentInvoice:
        """Makes the invoice unpayable if possible, and returns it: void, paid, or open."""
        invoices = self._api.v1.invoices
        try:
            if await self.invoice_in_progress(id):
                return await self.sent_invoice(id)
            async with self._call("end_invoice"):
                invoice = await invoices.retrieve_async(id)
                if invoice.status == "draft":
                    await invoices.delete_async(id)
                    return SentInvoice(id=id, status="void", url=None)
                if invoice.status in ("open", "uncollectible"):
                    invoice = await invoices.void_invoice_async(id, None, {"idempotency_key": f"{key}/void"})
                return _sent(invoice)
        except StripeRejected as refused:
            if refused.code == "resource_missing":
                return SentInvoice(id=id, status="void", url=None)
            return await self.sent_invoice(id)


def _sent(invoice: stripe.Invoice) -> SentInvoice:
    status = cast(Literal["draft", "open", "paid", "uncollectible", "void"], invoice.status)
    return SentInvoice(id=invoice.id, status=status, url=invoice.hosted_invoice_url)
