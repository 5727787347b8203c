"""The API's resources: one module per family, each with its `OPERATIONS`."""

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
    invoice_items,
    invoice_payments,
    invoices,
    payment_intents,
    payment_methods,
    refunds,
    setup_intents,
    subscription_schedules,
    subscriptions,
    test_clocks,
    webhook_endpoints,
)

_FAMILIES = (
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
    invoice_items,
    invoice_payments,
    invoices,
    payment_intents,
    payment_methods,
    refunds,
    setup_intents,
    subscription_schedules,
    subscriptions,
    test_clocks,
    webhook_endpoints,
)

OPERATIONS: list[Operation] = [operation for family in _FAMILIES for operation in family.OPERATIONS]
