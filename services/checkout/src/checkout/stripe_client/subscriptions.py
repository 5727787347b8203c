"""Subscriptions of memberships, and of plans at Stripe that were not started here: their prices, and their end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import stripe

from checkout.stripe_client.request import StripeCalls
from contracts.money import Money


@dataclass(frozen=True, kw_only=True)
class Subscription:
    id: str
    ended: bool
    schedule_id: str | None


@dataclass(frozen=True, kw_only=True)
class Invoice:
    id: str
    draft: bool


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The schedule of a subscription. `over`: it no longer decides when the subscription ends."""

    id: str
    over: bool


class SubscriptionCalls(StripeCalls):
    async def recurring_price(
        self, *, key: str, name: str, amount: Money, interval: Literal["month", "year"] = "month"
    ) -> str:
        """The id of the price with the lookup key `key`; created if there is none."""
        async with self._call("recurring_price"):
            prices = self._api.v1.prices
            if existing := (await prices.list_async({"lookup_keys": [key], "active": True, "limit": 1})).data:
                return existing[0].id
            made = await prices.create_async(
                {
                    "lookup_key": key,
                    "transfer_lookup_key": True,
                    "currency": amount.currency,
                    "unit_amount": amount.amount,
                    "tax_behavior": "exclusive",
                    "recurring": {"interval": interval},
                    "product_data": {"name": name},
                },
                {"idempotency_key": key},
            )
            return made.id

    async def subscription(self, id: str) -> Subscription:
        async with self._call("subscription"):
            found = await self._api.v1.subscriptions.retrieve_async(id)
        schedule = found.schedule
        return Subscription(
            id=found.id,
            ended=found.status in ("canceled", "incomplete_expired"),
            schedule_id=schedule if schedule is None or isinstance(schedule, str) else schedule.id,
        )

    async def end_subscription(self, id: str, *, key: str) -> None:
        """Cancels it now, without a final invoice or proration."""
        async with self._call("end_subscription"):
            subscriptions = self._api.v1.subscriptions
            await subscriptions.cancel_async(id, {"invoice_now": False, "prorate": False}, {"idempotency_key": key})

    async def end_schedule(self, id: str, *, key: str) -> None:
        """Cancels the schedule and its subscription, without a final invoice or proration."""
        async with self._call("end_schedule"):
            schedules = self._api.v1.subscription_schedules
            await schedules.cancel_async(id, {"invoice_now": False, "prorate": False}, {"idempotency_key": key})

    async def unpaid_invoices(self, subscription_id: str) -> list[Invoice]:
        """The subscription's invoices that may still be charged: drafts, then open ones."""
        statuses: tuple[Literal["draft", "open"], ...] = ("draft", "open")
        async with self._call("unpaid_invoices"):
            return [
                Invoice(id=invoice.id, draft=status == "draft")
                for status in statuses
                async for invoice in (
                    await self._api.v1.invoices.list_async(
                        {"subscription": subscription_id, "status": status, "limit": 100}
                    )
                ).auto_paging_iter()
            ]

    async def void_invoice(self, invoice: Invoice, *, key: str) -> None:
        """Voids the invoice. A subscription's draft cannot be voided or deleted: it is finalized first, uncharged."""
        invoices = self._api.v1.invoices
        async with self._call("void_invoice"):
            if invoice.draft:
                final = await invoices.finalize_invoice_async(
                    invoice.id, {"auto_advance": False}, {"idempotency_key": f"{key}/finalize"}
                )
                if final.status != "open":  # nothing was due
                    return
            await invoices.void_invoice_async(invoice.id, None, {"idempotency_key": f"{key}/void"})

    async def schedule(self, id: str) -> Schedule:
        async with self._call("schedule"):
            return _schedule(await self._api.v1.subscription_schedules.retrieve_async(id))


def _schedule(schedule: stripe.SubscriptionSchedule) -> Schedule:
    return Schedule(id=schedule.id, over=schedule.status in ("canceled", "completed", "released"))
