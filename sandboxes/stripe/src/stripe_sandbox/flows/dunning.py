"""Failed charges of invoices: retried 1, 3 and 7 days after the previous attempt."""

from __future__ import annotations

from stripe_sandbox.clock import DAY
from stripe_sandbox.flows import subscription_schedules, subscriptions
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj

RETRY_AFTER_DAYS = (1, 3, 7)


def action_required(sandbox: Sandbox, invoice: Obj) -> None:
    """A charge without the customer requires 3-D Secure: a failed attempt that the customer can complete.

    Emits invoice.payment_failed too, as Stripe does (github.com/laravel/cashier-stripe/issues/808).
    """
    attempt_failed(sandbox, invoice)
    sandbox.emit("invoice.payment_action_required", invoice)


def attempt_failed(sandbox: Sandbox, invoice: Obj) -> None:
    """Counts the attempt, schedules the next one (none after the last), and marks the subscription past due."""
    invoice["attempted"] = True
    invoice["attempt_count"] += 1
    subscription = subscriptions.subscription_of(sandbox, invoice)
    retried = invoice["collection_method"] == "charge_automatically" and invoice["attempt_count"] <= len(
        RETRY_AFTER_DAYS
    )
    ended = subscription is not None and subscription["status"] in ("canceled", "incomplete")
    if retried and invoice["auto_advance"] and not ended:
        wait = RETRY_AFTER_DAYS[invoice["attempt_count"] - 1] * DAY
        invoice["next_payment_attempt"] = sandbox.clock.now_for(invoice["customer"]) + wait
    else:
        invoice["next_payment_attempt"] = None
    sandbox.emit("invoice.payment_failed", invoice)
    if subscription is not None and not ended:
        _mark_past_due(sandbox, subscription, invoice)


def _mark_past_due(sandbox: Sandbox, subscription: Obj, invoice: Obj) -> None:
    if subscription["status"] in ("active", "trialing"):
        subscriptions.change_status(sandbox, subscription, "past_due")
    if invoice["next_payment_attempt"] is not None:
        return
    final = sandbox.settings.after_last_retry
    if final == "canceled":
        subscriptions.cancel(sandbox, subscription, reason="payment_failed")
        subscription_schedules.end_with_subscription(sandbox, subscription, delinquent=True)
    else:
        subscriptions.change_status(sandbox, subscription, final)
