"""Mandates: the permission to debit a bank account again. A bank can revoke it."""

from __future__ import annotations

import stripe

from stripe_sandbox.ids import new_id
from stripe_sandbox.shapes import build, part
from stripe_sandbox.state import Sandbox, copy_of
from stripe_sandbox.store import Obj

_Mandate = stripe.Mandate


def accept(sandbox: Sandbox, method: Obj) -> Obj:
    """The mandate of a bank account, created if there is none."""
    existing = of_method(sandbox, method["id"])
    if existing is not None:
        return existing
    return sandbox.store.add(
        build(
            _Mandate,
            id=new_id("mandate"),
            customer_acceptance=part(
                _Mandate.CustomerAcceptance,
                accepted_at=sandbox.clock.now(),
                online={"ip_address": None, "user_agent": None},
                type="online",
            ),
            multi_use=part(_Mandate.MultiUse),
            payment_method=method["id"],
            payment_method_details={
                "type": method["type"],
                method["type"]: part(_Mandate.PaymentMethodDetails.UsBankAccount),
            },
            status="active",
            type="multi_use",
        )
    )


def of_method(sandbox: Sandbox, method: str) -> Obj | None:
    """The mandate of a payment method, if any."""
    return next(sandbox.store.where("mandate", payment_method=method), None)


def revoked(sandbox: Sandbox, method: str) -> bool:
    """Whether the method cannot be debited because its mandate is inactive."""
    mandate = of_method(sandbox, method)
    return mandate is not None and mandate["status"] == "inactive"


def revoke(sandbox: Sandbox, mandate: Obj) -> None:
    """Makes a mandate inactive for good. Emits mandate.updated unless it was."""
    if mandate["status"] == "inactive":
        return
    before = copy_of(mandate)
    mandate["status"] = "inactive"
    sandbox.emit("mandate.updated", mandate, before)
