"""A sponsor's one customer at Stripe. It has the finance office's email address: Stripe refuses to send an invoice to a
customer without one (see the sandbox's rule `send_invoice_without_email`)."""

from __future__ import annotations

from checkout.installments import repository
from checkout.installments.invoice_terms import SponsorInvoice
from checkout.installments.payment_requests import BeginUnitOfWork
from checkout.stripe_client import Stripe, StripeRejected


async def ensure(stripe: Stripe, begin: BeginUnitOfWork, code: str, invoice: SponsorInvoice) -> str:
    """The customer's id, after its name and email address were updated; a new one if Stripe does not have it any more.
    `code`: the sponsor's. Raises StripeUnavailable or StripeRejected."""
    async with begin() as uow:
        existing = await repository.sponsor_customer(uow.db, code)
    if existing is not None:
        try:
            await stripe.update_customer(existing, email=invoice.bill_to, name=invoice.sponsor)
        except StripeRejected as rejected:
            if rejected.code != "resource_missing":
                raise
        else:
            return existing
    key = f"sponsor/{code}" if existing is None else f"sponsor/{code}/after/{existing}"
    customer_id = await stripe.create_customer(metadata={"sponsor": code}, key=key)
    await stripe.update_customer(customer_id, email=invoice.bill_to, name=invoice.sponsor)
    async with begin() as uow:
        await repository.keep_sponsor_customer(uow.db, code, customer_id)
    return customer_id
