"""Refunds: validation, creation and status changes."""

from __future__ import annotations

import stripe

from stripe_sandbox.errors import StripeError
from stripe_sandbox.flows import balance_transactions
from stripe_sandbox.ids import new_id
from stripe_sandbox.shapes import build
from stripe_sandbox.state import Sandbox, copy_of
from stripe_sandbox.store import Obj


def create(
    sandbox: Sandbox,
    charge: Obj,
    *,
    amount: int | None = None,
    reason: str | None = None,
    metadata: dict[str, str] | None = None,
    status: str = "succeeded",
) -> Obj:
    """Refunds a charge, in full without `amount`. Raises Stripe's error if the amount is not refundable.

    Emits refund.created and charge.refunded. A pending refund counts as refunded unless it fails.
    """
    left = charge["amount"] - charge["amount_refunded"]
    amount = left if amount is None else amount
    _check(sandbox, charge, amount, left)
    refund = build(
        stripe.Refund,
        id=new_id("re"),
        amount=amount,
        charge=charge["id"],
        created=sandbox.clock.now_for(charge["customer"]),
        currency=charge["currency"],
        destination_details=_destination(charge["payment_method_details"]["type"]),
        metadata=metadata or {},
        payment_intent=charge["payment_intent"],
        payment_method=charge["payment_method"],
        reason=reason,
        status=status,
    )
    if status == "pending":
        refund["pending_reason"] = "processing"
    sandbox.store.add(refund)
    kind = "refund" if charge["id"].startswith("ch_") else "payment_refund"
    movement = balance_transactions.post(sandbox, kind, -amount, charge["currency"], refund["id"], category="refund")
    refund["balance_transaction"] = movement["id"]
    before = copy_of(charge)
    _add_refunded(charge, amount)
    sandbox.emit("refund.created", refund)
    sandbox.emit("charge.refunded", charge, before)
    return refund


def succeed(sandbox: Sandbox, refund: Obj) -> None:
    """Marks a pending refund succeeded. Emits refund.updated."""
    if refund["status"] != "pending":
        raise StripeError(f"This refund is {refund['status']}, not pending.")
    before = copy_of(refund)
    refund["status"] = "succeeded"
    refund.pop("pending_reason", None)
    _emit_updated(sandbox, refund, before)


def fail(sandbox: Sandbox, refund: Obj, reason: str = "expired_or_canceled_card") -> None:
    """Fails a pending or succeeded refund; the funds return. Emits refund.updated and refund.failed."""
    _revert(sandbox, refund, "failed", reason)
    sandbox.emit("refund.failed", refund)


def cancel(sandbox: Sandbox, refund: Obj) -> None:
    """Cancels a pending refund."""
    if refund["status"] not in ("pending", "requires_action"):
        raise StripeError("This refund cannot be canceled: it is not pending.")
    _revert(sandbox, refund, "canceled", None)


def _destination(method: str) -> Obj:
    """`destination_details`; the SDK's class defines which methods have a hash of their own."""
    name = {"us_bank_account": "us_bank_transfer"}.get(method, method)
    if name not in stripe.Refund.DestinationDetails.__annotations__:
        return {"type": name}
    return {"type": name, name: {"type": "refund"} if name == "card" else {}}


def _revert(sandbox: Sandbox, refund: Obj, status: str, reason: str | None) -> None:
    if refund["status"] in ("failed", "canceled"):
        raise StripeError(f"This refund is already {refund['status']}.")
    before = copy_of(refund)
    movement = balance_transactions.post(sandbox, "refund_failure", refund["amount"], refund["currency"], refund["id"])
    refund.update(status=status, failure_balance_transaction=movement["id"])
    if reason is not None:
        refund["failure_reason"] = reason
    refund.pop("pending_reason", None)
    _add_refunded(sandbox.store.get("charge", refund["charge"]), -refund["amount"])
    _emit_updated(sandbox, refund, before)


def _emit_updated(sandbox: Sandbox, refund: Obj, before: Obj) -> None:
    sandbox.emit("charge.refund.updated", refund, before)
    sandbox.emit("refund.updated", refund, before)


def _add_refunded(charge: Obj, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]


def _check(sandbox: Sandbox, charge: Obj, amount: int, left: int) -> None:
    if charge["status"] != "succeeded":
        raise StripeError(
            f"This Charge cannot be refunded: its status is {charge['status']}.",
            code="charge_not_refundable",
            param="charge",
        )
    disputes = list(sandbox.store.where("dispute", charge=charge["id"]))
    if any(not dispute["is_charge_refundable"] for dispute in disputes):
        raise StripeError(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed"
        )
    if left == 0:
        raise StripeError(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    if amount < 1:
        raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    if amount > left:
        raise StripeError(
            f"Refund amount (${amount / 100:,.2f}) is greater than unrefunded amount on charge (${left / 100:,.2f})",
            param="amount",
        )
