"""The only place that talks to Stripe: one client, bounded in time, and its errors in our words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

import stripe
import structlog

from checkout.settings import StripeSettings
from contracts.money import Money
from kit.failures import Permanent, Transient

log = structlog.get_logger(__name__)

_LATER = frozenset({401, 403, 409, 429})
"""Not our request is wrong, but the moment, or a key that an operator has to mend."""


class StripeRefuses(Permanent):
    """Stripe has understood and says no. `code` is Stripe's own."""

    def __init__(self, code: str) -> None:
        super().__init__(f"Stripe refuses: {code}")
        self.code = code


class StripeAway(Transient):
    """Stripe could not be asked, or cannot answer now."""


@dataclass(frozen=True, kw_only=True)
class Session:
    id: str
    status: Literal["open", "complete", "expired"]
    url: str | None
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class Subscription:
    id: str
    ended: bool
    started: datetime
    schedule_id: str | None


@dataclass(frozen=True, kw_only=True)
class Invoice:
    id: str
    draft: bool


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A plan's schedule; `phase_start` and `phase` are of its only (or last) phase."""

    id: str
    ends_by_itself: bool
    over: bool
    phase_start: datetime
    phase: Mapping[str, Any]


class Stripe:
    """Every method that changes something takes the idempotency key under which it may be sent again."""

    def __init__(self, settings: StripeSettings) -> None:
        self._http = stripe.HTTPXClient(timeout=settings.stripe_timeout_seconds)
        self._seconds = settings.stripe_timeout_seconds * 2.5
        self._client = stripe.StripeClient(
            settings.stripe_api_key.get_secret_value(),
            stripe_version=settings.stripe_api_version,
            base_addresses={"api": settings.stripe_api_base} if settings.stripe_api_base else None,
            max_network_retries=settings.stripe_retries,
            http_client=self._http,
        )

    async def close(self) -> None:
        await self._http.close_async()  # type: ignore[no-untyped-call]

    async def create_session(self, params: Mapping[str, Any], *, key: str) -> Session:
        async with self._asking("create_session"):
            sessions = self._client.v1.checkout.sessions
            return _session(await sessions.create_async(cast(Any, params), {"idempotency_key": key}))

    async def session(self, id: str) -> Session:
        async with self._asking("session"):
            return _session(await self._client.v1.checkout.sessions.retrieve_async(id))

    async def expire_session(self, id: str, *, key: str) -> Session:
        """Closes the session if it is open, and tells how it stands then: expired, or complete."""
        try:
            async with self._asking("expire_session"):
                sessions = self._client.v1.checkout.sessions
                return _session(await sessions.expire_async(id, None, {"idempotency_key": key}))
        except StripeRefuses:
            return await self.session(id)

    async def monthly_price(self, *, key: str, name: str, amount: Money) -> str:
        """The id of the monthly price that is kept under `key`; made when there is none yet."""
        async with self._asking("monthly_price"):
            prices = self._client.v1.prices
            if known := (await prices.list_async({"lookup_keys": [key], "active": True, "limit": 1})).data:
                return known[0].id
            made = await prices.create_async(
                {
                    "lookup_key": key,
                    "transfer_lookup_key": True,
                    "currency": amount.currency,
                    "unit_amount": amount.amount,
                    "recurring": {"interval": "month"},
                    "product_data": {"name": name},
                },
                {"idempotency_key": key},
            )
            return made.id

    async def subscription(self, id: str) -> Subscription:
        async with self._asking("subscription"):
            found = await self._client.v1.subscriptions.retrieve_async(id)
        schedule = found.schedule
        return Subscription(
            id=found.id,
            ended=found.status in ("canceled", "incomplete_expired"),
            started=_time(found.start_date),
            schedule_id=schedule if schedule is None or isinstance(schedule, str) else schedule.id,
        )

    async def end_subscription(self, id: str, *, key: str) -> None:
        """Now, and nothing is reckoned up: no last invoice, no proration."""
        async with self._asking("end_subscription"):
            subscriptions = self._client.v1.subscriptions
            await subscriptions.cancel_async(id, {"invoice_now": False, "prorate": False}, {"idempotency_key": key})

    async def end_schedule(self, id: str, *, key: str) -> None:
        """Ends its subscription with it. (Stripe would reckon up here, unless it is told not to.)"""
        async with self._asking("end_schedule"):
            schedules = self._client.v1.subscription_schedules
            await schedules.cancel_async(id, {"invoice_now": False, "prorate": False}, {"idempotency_key": key})

    async def unpaid_invoices(self, subscription_id: str) -> list[Invoice]:
        """The subscription's invoices that may still be charged: drafts first, then open ones."""
        async with self._asking("unpaid_invoices"):
            return [
                Invoice(id=invoice.id, draft=status == "draft")
                for status in ("draft", "open")
                async for invoice in (
                    await self._client.v1.invoices.list_async(
                        {"subscription": subscription_id, "status": cast(Any, status), "limit": 100}
                    )
                ).auto_paging_iter()
            ]

    async def void_invoice(self, invoice: Invoice, *, key: str) -> None:
        """A subscription's draft can be neither voided nor deleted: it is finalized first, without being charged."""
        invoices = self._client.v1.invoices
        async with self._asking("void_invoice"):
            if invoice.draft:
                final = await invoices.finalize_invoice_async(
                    invoice.id, {"auto_advance": False}, {"idempotency_key": f"{key}/finalize"}
                )
                if final.status != "open":  # nothing was due
                    return
            await invoices.void_invoice_async(invoice.id, None, {"idempotency_key": f"{key}/void"})

    async def schedule(self, id: str) -> Schedule:
        async with self._asking("schedule"):
            return _schedule(await self._client.v1.subscription_schedules.retrieve_async(id))

    async def schedule_from(self, subscription_id: str, *, key: str) -> Schedule:
        async with self._asking("schedule_from"):
            schedules = self._client.v1.subscription_schedules
            made = await schedules.create_async({"from_subscription": subscription_id}, {"idempotency_key": key})
            return _schedule(made)

    async def end_after(self, schedule: Schedule, *, months: int, metadata: Mapping[str, str], key: str) -> Schedule:
        """Lets the schedule's phase last `months` from its start, and the subscription end with it."""
        params = {
            "end_behavior": "cancel",
            "metadata": dict(metadata),
            "phases": [
                {
                    **schedule.phase,
                    "start_date": int(schedule.phase_start.timestamp()),
                    "duration": {"interval": "month", "interval_count": months},
                    "proration_behavior": "none",
                }
            ],
            "proration_behavior": "none",
        }
        async with self._asking("end_after"):
            schedules = self._client.v1.subscription_schedules
            changed = await schedules.update_async(schedule.id, cast(Any, params), {"idempotency_key": key})
            return _schedule(changed)

    @asynccontextmanager
    async def _asking(self, what: str) -> AsyncIterator[None]:
        """Raises StripeAway or StripeRefuses; neither quotes what was sent."""
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError:
            log.warning("stripe away", call=what, error="timeout")
            raise StripeAway("Stripe does not answer") from None
        except stripe.StripeError as error:
            status, code = error.http_status, _code(error)
            if status is None or status >= 500 or status in _LATER:
                log.warning("stripe away", call=what, status=status, code=code, request=error.request_id)
                raise StripeAway(f"Stripe cannot answer now: {code}") from None
            log.error("stripe refuses", call=what, status=status, code=code, request=error.request_id)
            raise StripeRefuses(code) from None


def _code(error: stripe.StripeError) -> str:
    """Stripe's code, else the kind of error with the parameter that it names; never its text."""
    return error.code or ":".join(filter(None, (type(error).__name__, getattr(error, "param", None))))


def _session(session: stripe.checkout.Session) -> Session:
    return Session(
        id=session.id,
        status=cast(Any, session.status),
        url=session.url,
        expires_at=_time(session.expires_at),
    )


def _schedule(schedule: stripe.SubscriptionSchedule) -> Schedule:
    phase = schedule.phases[-1]
    kept: dict[str, Any] = {
        "items": [{"price": _id(item.price), "quantity": item.quantity or 1} for item in phase["items"]],
    }
    if phase.default_payment_method:
        kept["default_payment_method"] = _id(phase.default_payment_method)
    if phase.collection_method:
        kept["collection_method"] = phase.collection_method
    return Schedule(
        id=schedule.id,
        ends_by_itself=schedule.end_behavior == "cancel",
        over=schedule.status in ("canceled", "completed", "released"),
        phase_start=_time(phase.start_date),
        phase=kept,
    )


def _id(found: Any) -> str:
    return found if isinstance(found, str) else str(found.id)


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
