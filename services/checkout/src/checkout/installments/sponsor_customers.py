"""A sponsor's one customer at Stripe. It has the finance office's email address: Stripe refuses to send an invoice to a
customer without one (see the sandbox's rule `send_invoice_without_email`)."""

from __future__ import annotations

from checkout.installments import repository
from checkout.installments.invoice_terms import SponsorInvoice
from checkout.installments.payment_requests import BeginUnitOfWork
from checkout.stripe_client import Stripe


async def ensure(stripe: Stripe, begin: BeginUnitOfWork, code: str, invoice: SponsorInvoice) -> str:
    """The customer's id, after its name and email address were updated. `code`: the sponsor's. Raises StripeUnavailable
    or StripeRejected."""
    async with begin() as uow:
        existing = await repository.sponsor_customer(uow.db, code)
    customer_id = existing or await stripe.create_customer(metadata={"sponsor": code}, key=f"sponsor/{code}")
    await stripe.update_customer(customer_id, email=invoice.bill_to, name=invoice.sponsor)
    if existing is None:
        async with begin() as uow:
            await repository.keep_sponsor_customer(uow.db, code, customer_id)
    return customer_id
