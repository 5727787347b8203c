"""Stripe Tax with one flat exclusive rate, in minor units, rounded half away from zero."""

from __future__ import annotations

from typing import Any

import stripe

from stripe_sandbox.shapes import part
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj

_RATE = "txr_sandbox"
_WHOLE = 10_000


def portion(amount: int, part_of: int, whole: int) -> int:
    """`amount` * `part_of` / `whole` in signed minor units, rounded half away from zero."""
    size = (2 * abs(amount) * part_of + whole) // (2 * whole)
    return size if amount >= 0 else -size


def basis_points(sandbox: Sandbox, customer: str | None, automatic_tax: Obj) -> int:
    """The rate in hundredths of a percent; 0 if tax is disabled or the customer is exempt."""
    if not automatic_tax["enabled"]:
        return 0
    holder = sandbox.store.find(customer) if customer else None
    exempt = holder is not None and holder["tax_exempt"] in ("exempt", "reverse")
    return 0 if exempt else sandbox.settings.tax_basis_points


def spread(amounts: list[int], rate: int) -> list[int]:
    """The tax of each line, adding up to the tax of the total."""
    taxes, subtotal, total_tax = [], 0, 0
    for amount in amounts:
        subtotal += amount
        new_total = portion(subtotal, rate, _WHOLE)
        taxes.append(new_total - total_tax)
        total_tax = new_total
    return taxes


def entry(amount: int, taxable: int, rate: int) -> Obj:
    """An element of an invoice's `total_taxes` or a line's `taxes`."""
    return {
        "amount": amount,
        "tax_behavior": "exclusive",
        "tax_rate_details": {"tax_rate": _RATE},
        "taxability_reason": "standard_rated" if rate else "customer_exempt",
        "taxable_amount": taxable if rate else 0,
        "type": "tax_rate_details",
    }


def setting(resource: type, given: Any, *, complete: bool = True) -> Obj:
    """`automatic_tax` of a session or invoice (`complete`), or of a subscription, which has no status."""
    enabled = bool((given or {}).get("enabled"))
    if not enabled:
        return part(resource, enabled=False)
    status = {"provider": "stripe", "status": "complete"} if complete else {}
    return part(resource, enabled=True, liability=part(stripe.Invoice.AutomaticTax.Liability, type="self"), **status)
