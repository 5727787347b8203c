"""The only package that calls Stripe. Every call that changes something takes the idempotency key of its retries."""

from __future__ import annotations

from checkout.stripe_client.customers import CustomerCalls, SavedMethod
from checkout.stripe_client.intents import Intent, IntentCalls
from checkout.stripe_client.invoices import InvoiceCalls, InvoiceCharge, InvoiceTerms, PayableInvoice
from checkout.stripe_client.memberships import MembershipCalls, PaymentDeclined, StripeMembership
from checkout.stripe_client.refunds import RefundCalls, StripeRefund
from checkout.stripe_client.request import StripeNotConfigured, StripeRejected, StripeUnavailable
from checkout.stripe_client.sessions import Session, SessionCalls
from checkout.stripe_client.subscriptions import Invoice, Schedule, Subscription, SubscriptionCalls


class Stripe(SessionCalls, SubscriptionCalls, IntentCalls, CustomerCalls, RefundCalls, MembershipCalls, InvoiceCalls):
    """The Stripe calls that checkout needs."""


__all__ = [
    "Intent",
    "Invoice",
    "InvoiceCharge",
    "InvoiceTerms",
    "PayableInvoice",
    "PaymentDeclined",
    "SavedMethod",
    "Schedule",
    "Session",
    "Stripe",
    "StripeMembership",
    "StripeNotConfigured",
    "StripeRefund",
    "StripeRejected",
    "StripeUnavailable",
    "Subscription",
]
