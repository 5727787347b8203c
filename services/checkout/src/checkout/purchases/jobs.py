"""Expire purchases that nobody has paid."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import structlog

from checkout.purchases import repository
from checkout.purchases.domain import Change, State
from checkout.purchases.event_requests import request_events
from checkout.stripe_client import Intent, Stripe, StripeRejected
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.jobs.jobs import Job
from kit.runtime.backoff import Backoff
from kit.runtime.failures import Transient

log = structlog.get_logger(__name__)

PATIENT = Backoff(longest=timedelta(hours=1), attempts=1_000)
"""For jobs at Stripe that must be done in the end: hourly for about six weeks."""
PAGE_EXPIRY = "page_expiry"
PAGE_EXPIRES_AFTER = timedelta(hours=24)
"""Later than anybody may resume a page that was never opened (see UNANSWERED)."""
INTENT_EXPIRY = "intent_expiry"
INTENT_OPEN_FOR = timedelta(hours=24)
"""How long an intent waits for its payer: as long as a Checkout page. (Stripe itself never expires an intent.)"""
_VERIFICATION = "verify_with_microdeposits"
_VERIFICATION_TAKES = timedelta(days=10)
"""Stripe sends the micro-deposits within two business days, and the payer has ten days to verify them
(docs.stripe.com/payments/ach-direct-debit/accept-a-payment)."""
_ACTION_TAKES = timedelta(hours=48)
"""For anything else that the payer has started and not finished, such as 3-D Secure."""


async def enqueue_page_expiry(uow: UnitOfWork, purchase_id: UUID, *, at: datetime | None = None) -> None:
    """Enqueues the expiry of a page that was never opened, once per purchase. `at`: None for Stripe's 24 hours."""
    payload = {"purchase_id": str(purchase_id)}
    available_at = at or uow.now + PAGE_EXPIRES_AFTER
    await uow.enqueue(PAGE_EXPIRY, key=f"{purchase_id}/expiry", payload=payload, available_at=available_at)


async def enqueue_intent_expiry(uow: UnitOfWork, purchase_id: UUID, *, after: int = 0) -> None:
    """Enqueues the cancellation of an intent that is still open in a day, once per number of failed attempts."""
    key = f"{purchase_id}/expiry/{after}" if after else f"{purchase_id}/expiry"
    payload = {"purchase_id": str(purchase_id)}
    await uow.enqueue(INTENT_EXPIRY, key=key, payload=payload, available_at=uow.now + INTENT_OPEN_FOR)


def awaits_payer(intent: Intent, *, started: datetime, now: datetime) -> bool:
    """Whether the payer has started to pay, and may still finish. `started`: the earliest time of it."""
    if intent.status != "requires_action":
        return False
    takes = _VERIFICATION_TAKES if intent.action == _VERIFICATION else _ACTION_TAKES
    return now - started < takes


class PageExpiry:
    """Expires a purchase whose page was never opened, so that its promotion code use is released. (For a page that was
    opened, Stripe sends an event.)"""

    backoff = Backoff()

    def __init__(self, database: Database) -> None:
        self._database = database

    async def perform(self, job: Job) -> bool:
        """Whether the page's URL was never handed out."""
        async with self._database.transaction() as db:
            row = await repository.read_row(db, UUID(job.payload["purchase_id"]))
        return row is not None and row.state is State.CREATED

    async def record(self, job: Job, result: bool, uow: UnitOfWork) -> None:
        if result:
            await repository.change_state(uow.db, UUID(job.payload["purchase_id"]), Change.EXPIRED, at=uow.now)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("failed to expire page; purchase stays open", purchase=job.payload["purchase_id"])


class IntentExpiry:
    """Cancels an intent that was not paid within a day, so that its promotion code use is released. One that waits for
    its payer's action is looked at again a day later."""

    backoff = Backoff(longest=timedelta(hours=1), attempts=100)

    def __init__(self, database: Database, stripe: Stripe) -> None:
        self._database = database
        self._stripe = stripe

    async def perform(self, job: Job) -> Literal["canceled", "waiting", "paid", "kept"]:
        """canceled: the intent cannot be paid any more. paid: it is, or is being paid, without an event."""
        async with self._database.transaction() as db:
            row = await repository.read_row(db, UUID(job.payload["purchase_id"]))
        if row is None or row.state not in (State.CREATED, State.AWAITING_PAYMENT):
            return "kept"
        if row.stripe_payment_intent_id is None:  # its secret was never handed out; if nothing is due, it is paid
            return "canceled" if row.state is State.CREATED else "kept"
        try:
            intent = await self._stripe.intent(row.stripe_payment_intent_id)
            if awaits_payer(intent, started=row.created_at, now=utc_now()):
                return "waiting"
            intent = await self._stripe.cancel_intent(row.stripe_payment_intent_id, key=f"{job.key}/cancel")
        except StripeRejected as rejected:
            if rejected.code == "resource_missing":
                return "canceled"
            raise Transient(str(rejected)) from rejected
        return "canceled" if intent.status == "canceled" else "paid"

    async def record(self, job: Job, result: Literal["canceled", "waiting", "paid", "kept"], uow: UnitOfWork) -> None:
        if result == "canceled":
            await repository.change_state(uow.db, UUID(job.payload["purchase_id"]), Change.EXPIRED, at=uow.now)
        elif result == "waiting":
            later = uow.now + INTENT_OPEN_FOR
            await uow.enqueue(INTENT_EXPIRY, key=f"{job.key}/+", payload=dict(job.payload), available_at=later)
        elif result == "paid":
            row = await repository.read_row(uow.db, UUID(job.payload["purchase_id"]))
            if row is not None and row.stripe_payment_intent_id is not None:
                await request_events(uow, row.stripe_payment_intent_id)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("failed to cancel intent; purchase stays open", purchase=job.payload["purchase_id"])
