"""Memberships at Stripe: subscriptions of one price, which renew until they are canceled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

import stripe

from checkout.settings import StripeSettings
from checkout.stripe_client.request import StripeCalls, StripeRejected, id_of, time_of
from contracts.money import Money
from contracts.payments import SubscriptionStatus

Interval = Literal["month", "year"]

_PREFIX = "membership"
_EXPAND: list[str] = ["latest_invoice"]


class PaymentDeclined(StripeRejected):
    """The change had to be paid at once and the payment was declined; nothing has changed."""


@dataclass(frozen=True, kw_only=True)
class RecurringPrice:
    """`amount` None: the price has no fixed amount."""

    id: str
    amount: Money | None
    interval: str | None


@dataclass(frozen=True, kw_only=True)
class StripeMembership:
    """A subscription at Stripe. `tier` is its price's, else the one in its metadata.

    Stripe has two kinds of pause (of collection, or of the whole subscription: `halted`), and two kinds of scheduled
    cancellation (at the period's end, or at a date, as the billing portal does: `cancel_dated`). `unpaid_period`: the
    current period was not charged, because collection was paused when it began. `resumes_at`: when the pause ends by
    itself; None: it does not.
    """

    id: str
    item_id: str
    price_id: str
    amount: Money
    interval: Interval
    tier: str | None
    program_id: str | None
    status: SubscriptionStatus
    cancel_at_period_end: bool
    cancel_dated: bool
    current_period_end: datetime
    ended_at: datetime | None
    paused: bool
    resumes_at: datetime | None
    unpaid_period: bool

    @property
    def halted(self) -> bool:
        return self.status == "paused"

    @property
    def ended(self) -> bool:
        return self.status in ("canceled", "incomplete_expired")


class MembershipCalls(StripeCalls):
    def __init__(self, settings: StripeSettings) -> None:
        super().__init__(settings)
        self._prices = settings.membership_prices
        self._tiers = {price: tier for (tier, _), price in self._prices.items()}

    def configured_price(self, tier: str, interval: Interval) -> str | None:
        """The id of the price that an operator has configured for this."""
        return self._prices.get((tier, interval))

    async def price(self, id: str) -> RecurringPrice:
        async with self._call("price"):
            found = await self._api.v1.prices.retrieve_async(id)
        return RecurringPrice(
            id=found.id,
            amount=None if found.unit_amount is None else Money(amount=found.unit_amount, currency=found.currency),
            # every two months is not a supported interval
            interval=found.recurring.interval if found.recurring and found.recurring.interval_count == 1 else None,
        )

    async def membership(self, id: str) -> StripeMembership:
        async with self._call("membership"):
            subscriptions = self._api.v1.subscriptions
            return self._read(await subscriptions.retrieve_async(id, {"expand": _EXPAND}))

    async def change_membership(self, id: str, changes: Mapping[str, object], *, key: str) -> StripeMembership:
        """Raises PaymentDeclined when the change had to be paid at once and was declined."""
        params = cast(stripe.params.SubscriptionUpdateParams, {**changes, "expand": _EXPAND})
        async with self._call("change_membership"):
            try:
                changed = await self._api.v1.subscriptions.update_async(id, params, {"idempotency_key": key})
            except stripe.CardError as declined:
                raise PaymentDeclined(declined.code or "declined") from None
            return self._read(changed)

    async def end_membership(self, id: str, *, key: str) -> StripeMembership:
        """Cancels it now; nothing more is charged, and nothing is refunded."""
        params: stripe.params.SubscriptionCancelParams = {
            "invoice_now": False,
            "prorate": False,
            "expand": _EXPAND,
        }
        async with self._call("end_membership"):
            return self._read(await self._api.v1.subscriptions.cancel_async(id, params, {"idempotency_key": key}))

    async def credit_of_subscription(self, id: str) -> int:
        """Minor units that its invoices have added to the customer's credit balance, less what they took from it.

        A negative balance is credit. (Stripe SDK 16.1, Invoice.starting_balance and ending_balance: the latter is null
        for a draft; a void invoice has returned what it took.)
        """
        async with self._call("credit_of_subscription"):
            found = await self._api.v1.invoices.list_async({"subscription": id, "limit": 100})
            return sum(
                [
                    invoice.starting_balance - invoice.ending_balance
                    async for invoice in found.auto_paging_iter()
                    if invoice.ending_balance is not None and invoice.status != "void"
                ]
            )

    async def take_back_credit(self, id: str) -> int:
        """Takes from the credit balance what the subscription has added to it, at most what is left; minor units.

        Once: the transaction names the subscription, and Stripe forgets idempotency keys after a day.
        """
        credit = await self.credit_of_subscription(id)
        async with self._call("take_back_credit"):
            subscription = await self._api.v1.subscriptions.retrieve_async(id, {"expand": ["customer"]})
            customer = subscription.customer
            left = -(customer.balance or 0) if isinstance(customer, stripe.Customer) else 0
            amount = min(credit, left)
            if amount <= 0:
                return 0
            transactions = self._api.v1.customers.balance_transactions
            found = await transactions.list_async(id_of(customer), {"limit": 100})
            async for each in found.auto_paging_iter():
                if each.metadata is not None and each.metadata.to_dict().get("taken_back_of") == id:
                    return each.amount
            await transactions.create_async(
                id_of(customer),
                {
                    "amount": amount,
                    "currency": subscription.currency,
                    "description": "Credit of a payment that was disputed",
                    "metadata": {"taken_back_of": id},
                },
                {"idempotency_key": f"{id}/take_back_credit"},
            )
            return amount

    async def restart_membership(self, id: str, *, key: str) -> StripeMembership:
        """Resumes a paused subscription: a new period begins now, and it is active once that is paid."""
        # newer than the SDK's types
        params = cast(
            stripe.params.SubscriptionResumeParams,
            {
                "billing_cycle_anchor": {"type": "now"},
                "payment_behavior": "resume_on_payment_success",
                "expand": _EXPAND,
            },
        )
        async with self._call("restart_membership"):
            try:
                resumed = await self._api.v1.subscriptions.resume_async(id, params, {"idempotency_key": key})
            except stripe.CardError as declined:
                raise PaymentDeclined(declined.code or "declined") from None
            return self._read(resumed)

    def _read(self, found: stripe.Subscription) -> StripeMembership:
        item = found["items"].data[0]
        price, metadata = item.price, found.metadata.to_dict()
        latest, pause = found.latest_invoice, found.pause_collection
        return StripeMembership(
            id=found.id,
            item_id=item.id,
            price_id=id_of(price),
            amount=Money(amount=price.unit_amount or 0, currency=price.currency),
            interval="year" if price.recurring and price.recurring.interval == "year" else "month",
            tier=self._tiers.get(price.id) or tier_of_key(price.lookup_key or "") or metadata.get("tier"),
            program_id=metadata.get("program_id"),
            status=cast(SubscriptionStatus, found.status),
            cancel_at_period_end=found.cancel_at_period_end or (found.cancel_at is not None and not found.ended_at),
            cancel_dated=found.cancel_at is not None and not found.cancel_at_period_end,
            current_period_end=time_of(item.current_period_end),
            ended_at=None if found.ended_at is None else time_of(found.ended_at),
            paused=pause is not None or found.status == "paused",
            resumes_at=time_of(pause.resumes_at) if pause is not None and pause.resumes_at else None,
            unpaid_period=isinstance(latest, stripe.Invoice) and latest.status == "void",
        )


def key_of_price(tier: str, interval: Interval, amount: Money, name: str) -> str:
    """The lookup key of a price that checkout creates. `name`: a hash; only the tier may contain a slash."""
    return f"{_PREFIX}/{tier}/{interval}/{amount.currency}/{amount.amount}/{name}"


def tier_of_key(key: str) -> str | None:
    kind, _, rest = key.partition("/")
    parts = rest.rsplit("/", 4)
    return parts[0] if kind == _PREFIX and len(parts) == 5 else None
