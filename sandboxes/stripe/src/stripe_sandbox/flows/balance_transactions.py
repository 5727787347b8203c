"""Balance transactions: one per movement of funds, so that the balance can be verified."""

from __future__ import annotations

import stripe

from stripe_sandbox.clock import DAY
from stripe_sandbox.ids import new_id
from stripe_sandbox.shapes import build, part
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj

DISPUTE_FEE = 1_500


def post(
    sandbox: Sandbox, type: str, amount: int, currency: str, source: str, *, fee: int = 0, category: str | None = None
) -> Obj:
    """Creates a balance transaction. `amount` is in signed minor units before `fee`."""
    now = sandbox.clock.now()
    fees = [
        part(
            stripe.BalanceTransaction.FeeDetail,
            amount=fee,
            currency=currency,
            type="stripe_fee",
            description="Stripe fees",
        )
    ]
    return sandbox.store.add(
        build(
            stripe.BalanceTransaction,
            id=new_id("txn"),
            amount=amount,
            available_on=now + 2 * DAY,
            balance_type="payments",
            created=now,
            currency=currency,
            fee=fee,
            fee_details=fees if fee else [],
            net=amount - fee,
            reporting_category=category or type,
            source=source,
            status="pending",
            type=type,
        )
    )


def processing_fee(method: str, amount: int) -> int:
    """Stripe's US list prices: cards 2.9% + 30¢, bank debits 0.8% up to $5, buy now, pay later 6% + 30¢."""
    if method == "us_bank_account":
        return min(round(amount * 0.008), 500)
    if method in ("affirm", "afterpay_clearpay", "klarna", "zip"):
        return round(amount * 0.06) + 30
    return round(amount * 0.029) + 30
