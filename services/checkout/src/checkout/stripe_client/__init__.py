"""The only place that talks to Stripe. What changes something there takes the key under which it may be sent again."""

from __future__ import annotations

from checkout.stripe_client.customers import CustomerCalls, SavedMethod
from checkout.stripe_client.intents import Intent, IntentCalls
from checkout.stripe_client.invoices import InvoiceCalls, SentInvoice
from checkout.stripe_client.memberships import MembershipCalls, PaymentDeclined, StripeMembership
from checkout.stripe_client.plans import Invoice, Plans, Schedule, Subscription
from checkout.stripe_client.refunds import RefundCalls, StripeRefund
from checkout.stripe_client.request import StripeNotConfigured, StripeRejected, StripeUnavailable
from checkout.stripe_client.sessions import Session, Sessions


class Stripe(Sessions, Plans, IntentCalls, CustomerCalls, RefundCalls, MembershipCalls, InvoiceCalls):
    """Stripe, as far as checkout needs it."""


__all__ = [
    "Intent",
    "Invoice",
    "PaymentDeclined",
    "SavedMethod",
    "Schedule",
    "SentInvoice",
    "Session",
    "Stripe",
    "StripeMembership",
    "StripeNotConfigured",
    "StripeRefund",
    "StripeRejected",
    "StripeUnavailable",
    "Subscription",
]
