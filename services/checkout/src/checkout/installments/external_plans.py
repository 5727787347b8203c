"""What Stripe collects of a plan that was not started here: displayed, never charged by checkout. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from checkout.installments.domain import InstallmentStatus, months_later
from checkout.payments.domain import NOT_MONEY, PaymentRecord
from checkout.purchases.repository import PurchaseRow
from contracts.money import Money


@dataclass(frozen=True, kw_only=True)
class ExternalInstallment:
    """One payment of the plan: received, or expected by Stripe's calendar. Amounts are minor units."""

    id: UUID
    position: int
    amount: int
    currency: str
    due_at: datetime
    status: InstallmentStatus
    paid_at: datetime | None

    @property
    def is_owed(self) -> bool:
        return self.status in ("open", "overdue")


def is_external_plan(purchase: PurchaseRow) -> bool:
    return purchase.payment_flow == "external" and purchase.payment_type == "plan"


def external_installments(purchase: PurchaseRow, records: Sequence[PaymentRecord]) -> list[ExternalInstallment]:
    """The payments that were received, then those that are left of the price; none of these once Stripe has stopped."""
    paid = sorted(
        (each for each in records if each.status == "succeeded" and each.amount and each.method not in NOT_MONEY),
        key=lambda each: (each.paid_at or each.created_at, each.id),
    )
    found = [
        ExternalInstallment(
            id=each.id,
            position=position,
            amount=each.amount,
            currency=each.currency,
            due_at=each.paid_at or each.created_at,
            status="paid",
            paid_at=each.paid_at,
        )
        for position, each in enumerate(paid, start=1)
    ]
    received = sum(each.amount - each.tax for each in paid if each.currency == purchase.currency)
    left = Money(amount=max(purchase.amount - received, 0), currency=purchase.currency)
    count = max((purchase.installments or 1) - len(paid), 0)
    if purchase.next_charge_at is None or left.amount < max(count, 1):
        return found
    status: InstallmentStatus = "overdue" if purchase.subscription_status == "past_due" else "open"
    for number, amount in enumerate(left.installments(max(count, 1))):
        position = len(paid) + 1 + number
        found.append(
            ExternalInstallment(
                id=uuid5(purchase.id, f"external/{position}"),
                position=position,
                amount=amount.amount,
                currency=amount.currency,
                due_at=months_later(purchase.next_charge_at, number),
                status=status if number == 0 else "open",
                paid_at=None,
            )
        )
    return found
