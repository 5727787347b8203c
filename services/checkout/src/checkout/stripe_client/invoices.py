"""Invoices of one amount: charged to a saved payment method, paid on Stripe's page or in a card form, or sent with
terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast
from uuid import uuid4

import stripe

from checkout.stripe_client.intents import Intent, failure_of, intent_of
from checkout.stripe_client.request import StripeCalls, StripeRejected, id_of
from contracts.money import Money

InvoiceStatus = Literal["draft", "open", "paid", "uncollectible", "void"]


@dataclass(frozen=True, kw_only=True)
class InvoiceTerms:
    """Of an invoice that Stripe sends to its payer. `custom_fields`: names and values that the document displays, four
    at most. `payment_methods`: those that its page offers; empty: those of the account's settings."""

    days_until_due: int
    description: str | None = None
    custom_fields: Mapping[str, str] | None = None
    footer: str | None = None
    payment_methods: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class PayableInvoice:
    """`url`: where it can be paid, and `pdf`: its document; None for a draft."""

    id: str
    status: InvoiceStatus
    url: str | None
    pdf: str | None
    customer_id: str | None


@dataclass(frozen=True, kw_only=True)
class InvoiceCharge:
    """What became of a charge. `processing`: a bank debit that takes days.

    `code`: Stripe's decline or error code; `advice`: what the issuer says about another attempt; `method`: the type of
    the payment method that was charged, if Stripe names it.
    """

    status: Literal["paid", "processing", "failed"]
    code: str = "unknown"
    advice: str | None = None
    method: str | None = None


class InvoiceCalls(StripeCalls):
    async def draft_invoice(
        self,
        *,
        customer_id: str,
        amount: Money,
        description: str,
        metadata: Mapping[str, str],
        key: str,
        terms: InvoiceTerms | None = None,
        automatic_tax: bool = False,
    ) -> PayableInvoice:
        """A draft of this amount, which cannot be paid yet; the same one for the same key. Stripe never collects it by
        itself (`auto_advance`), and adds nothing to it that is pending for the customer.

        `terms` None: it is charged, not sent.
        """
        params: dict[str, object] = {
            "customer": customer_id,
            "currency": amount.currency,
            "collection_method": "charge_automatically",
            "auto_advance": False,
            "pending_invoice_items_behavior": "exclude",
            "description": description[:500],
            "metadata": dict(metadata),
        }
        if automatic_tax:
            params["automatic_tax"] = {"enabled": True}
        if terms is not None:
            params |= _sent_with(terms)
        async with self._call("draft_invoice"):
            invoice = await self._api.v1.invoices.create_async(
                cast(stripe.params.InvoiceCreateParams, params), {"idempotency_key": f"{key}/invoice"}
            )
            await self._api.v1.invoice_items.create_async(
                {
                    "customer": customer_id,
                    "invoice": invoice.id,
                    "amount": amount.amount,
                    "currency": amount.currency,
                    "description": description[:500],
                    "tax_behavior": "exclusive",  # not the account's default
                },
                {"idempotency_key": f"{key}/item"},
            )
            return _payable(invoice)

    async def finalize_invoice(self, id: str) -> PayableInvoice:
        """Finalizes the draft, so that it can be paid; any other invoice is returned unchanged. A credit balance of the
        customer may pay it at once.

        Stripe replays a rejection under its idempotency key, so each call has a key of its own.
        """
        try:
            async with self._call("finalize_invoice"):
                invoices = self._api.v1.invoices
                invoice = await invoices.retrieve_async(id)
                if invoice.status == "draft":
                    invoice = await invoices.finalize_invoice_async(
                        id, {"auto_advance": False}, {"idempotency_key": f"{id}/finalize/{uuid4()}"}
                    )
                return _payable(invoice)
        except StripeRejected:
            now = await self.invoice(id)
            if now.status == "draft":
                raise
            return now  # another request has finalized it a moment ago

    async def send_invoice(self, id: str, *, key: str) -> PayableInvoice:
        """Finalizes the draft and has Stripe mail it. An open invoice is mailed again, as it may not have been mailed;
        one that is paid or void is returned unchanged."""
        invoice = await self.finalize_invoice(id)
        if invoice.status != "open":
            return invoice
        async with self._call("send_invoice"):
            sent = await self._api.v1.invoices.send_invoice_async(id, None, {"idempotency_key": f"{key}/send"})
            return _payable(sent)

    async def invoice(self, id: str) -> PayableInvoice:
        async with self._call("invoice"):
            return _payable(await self._api.v1.invoices.retrieve_async(id))

    async def invoice_intent(self, id: str) -> Intent | None:
        """The intent that pays the invoice; None for a draft, or if nothing is due. (An invoice names its intents only
        by its payments: Stripe's change log, 2025-03-31.basil.)"""
        async with self._call("invoice_intent"):
            links = (await self._api.v1.invoice_payments.list_async({"invoice": id, "limit": 10})).data
            live = [link for link in links if link.status != "canceled" and link.payment.payment_intent is not None]
            link = next((each for each in live if each.is_default), next(iter(live), None))
            if link is None or link.payment.payment_intent is None:
                return None
            return intent_of(await self._api.v1.payment_intents.retrieve_async(id_of(link.payment.payment_intent)))

    async def confirmation_secret(self, id: str) -> str | None:
        """With which the front end's card form pays the open invoice (SDK 16.1, Invoice.confirmation_secret)."""
        async with self._call("confirmation_secret"):
            invoice = await self._api.v1.invoices.retrieve_async(id, {"expand": ["confirmation_secret"]})
            return invoice.confirmation_secret.client_secret if invoice.confirmation_secret else None

    async def pay_invoice(self, id: str, *, method_id: str, key: str) -> InvoiceCharge:
        """Charges the saved method without the payer being present. A decline is not an error.

        Raises StripeRejected if the request itself is wrong.
        """
        try:
            async with self._call("pay_invoice"):
                invoices = self._api.v1.invoices
                try:
                    paid = await invoices.pay_async(
                        id,
                        {"payment_method": method_id, "off_session": True},
                        {"idempotency_key": f"{key}/{method_id}"},
                    )
                    if paid.status == "paid":
                        return InvoiceCharge(status="paid")
                except stripe.CardError as error:
                    failed = failure_of(error.error)
                    return InvoiceCharge(
                        status="failed",
                        code=failed.code or error.code or "unknown",
                        advice=failed.advice,
                        method=failed.method,
                    )
        except StripeRejected:  # also: paid by someone else a moment ago
            charge = await self.invoice_charge(id)
            if charge.status == "failed":
                raise
            return charge
        return await self.invoice_charge(id)

    async def invoice_charge(self, id: str) -> InvoiceCharge:
        """What has become of the last attempt to pay the invoice."""
        if (await self.invoice(id)).status == "paid":
            return InvoiceCharge(status="paid")
        intent = await self.invoice_intent(id)
        if intent is None:
            return InvoiceCharge(status="failed")
        if intent.status in ("processing", "succeeded"):
            return InvoiceCharge(status="processing")
        code = intent.failure_code or intent.status
        return InvoiceCharge(status="failed", code=code, advice=intent.failure_advice, method=intent.failed_method)

    async def end_invoice(self, id: str, *, key: str) -> PayableInvoice:
        """Makes the invoice unpayable if possible, and returns it: void, paid, or open (a debit is being processed)."""
        invoices = self._api.v1.invoices
        gone = PayableInvoice(id=id, status="void", url=None, pdf=None, customer_id=None)
        try:
            intent = await self.invoice_intent(id)
            if intent is not None and intent.status == "processing":
                return await self.invoice(id)
            async with self._call("end_invoice"):
                invoice = await invoices.retrieve_async(id)
                if invoice.status == "draft":
                    await invoices.delete_async(id)
                    return gone
                if invoice.status in ("open", "uncollectible"):
                    invoice = await invoices.void_invoice_async(id, None, {"idempotency_key": f"{key}/{uuid4()}"})
                return _payable(invoice)
        except StripeRejected as refused:
            return gone if refused.code == "resource_missing" else await self.invoice(id)


def _sent_with(terms: InvoiceTerms) -> dict[str, object]:
    params: dict[str, object] = {"collection_method": "send_invoice", "days_until_due": terms.days_until_due}
    if terms.description:
        params["description"] = terms.description[:500]
    if terms.footer:
        params["footer"] = terms.footer
    if terms.payment_methods:
        params["payment_settings"] = {"payment_method_types": list(terms.payment_methods)}
    if terms.custom_fields:
        params["custom_fields"] = [{"name": name, "value": value} for name, value in terms.custom_fields.items()]
    return params


def _payable(invoice: stripe.Invoice) -> PayableInvoice:
    return PayableInvoice(
        id=invoice.id,
        status=cast(InvoiceStatus, invoice.status),
        url=invoice.hosted_invoice_url,
        pdf=invoice.invoice_pdf,
        customer_id=None if invoice.customer is None else id_of(invoice.customer),
    )
