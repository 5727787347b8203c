"""API resources: each module defines its `OPERATIONS`."""

from __future__ import annotations

from stripe_sandbox.operation import Operation
from stripe_sandbox.resources import (
    balance_transactions,
    billing_portal,
    catalog,
    charges,
    checkout_sessions,
    coupons,
    customer_balance,
    customers,
    disputes,
    event_log,
    fraud_warnings,
    invoice_items,
    invoice_payments,
    invoices,
    mandates,
    payment_intents,
    payment_methods,
    refunds,
    setup_intents,
    subscription_schedules,
    subscriptions,
    test_clocks,
    webhook_endpoints,
)

_MODULES = (
    balance_transactions,
    billing_portal,
    catalog,
    charges,
    checkout_sessions,
    coupons,
    customer_balance,
    customers,
    disputes,
    event_log,
    fraud_warnings,
    invoice_items,
    invoice_payments,
    invoices,
    mandates,
    payment_intents,
    payment_methods,
    refunds,
    setup_intents,
    subscription_schedules,
    subscriptions,
    test_clocks,
    webhook_endpoints,
)

OPERATIONS: list[Operation] = [operation for module in _MODULES for operation in module.OPERATIONS]
