"""An invoice that could not be charged: tried again 1, 3 and 7 days after the attempt before, then left."""

from stripe_sandbox.clock import DAY
from stripe_sandbox.flows import subscribing
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj

RETRY_AFTER_DAYS = (1, 3, 7)


def attempt_failed(sandbox: Sandbox, invoice: Obj) -> None:
    """Count the attempt, plan the next one (none after the last), and mark the subscription past due."""
    invoice["attempted"] = True
    invoice["attempt_count"] += 1
    subscription = subscribing.subscription_of(sandbox, invoice)
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
        _fall_behind(sandbox, subscription, invoice)


def _fall_behind(sandbox: Sandbox, subscription: Obj, invoice: Obj) -> None:
    if subscription["status"] in ("active", "trialing"):
        subscribing.change_status(sandbox, subscription, "past_due")
    if invoice["next_payment_attempt"] is not None:
        return
    final = sandbox.settings.after_last_retry
    if final == "canceled":
        subscribing.end(sandbox, subscription, reason="payment_failed")
    else:
        subscribing.change_status(sandbox, subscription, final)
