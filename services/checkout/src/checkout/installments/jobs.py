"""What a timer sets off: the saved method is charged, or an invoice is sent and reminded of.

What Stripe answers grants nothing: an amount is paid when its verified event has been heard.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import structlog
from sqlalchemy import Row

from checkout.installments import repository, transitions
from checkout.installments.clock import Clock
from checkout.installments.domain import NEVER, Again, after_attempt
from checkout.installments.payment_requests import Means, NotDue, over
from checkout.purchases import customers
from checkout.purchases import repository as purchases
from checkout.purchases.domain import State
from checkout.purchases.plans import PATIENT
from checkout.stripe_client import Stripe, StripeRefuses
from checkout.topology import SERVICE
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.jobs.jobs import Job
from kit.runtime.failures import Transient

log = structlog.get_logger(__name__)

_UNPAID = (State.CREATED, State.AWAITING_PAYMENT, State.EXPIRED)
"""Also what was given up because nobody can have seen it: its rows end here."""
_CHARGEABLE = ("card", "us_bank_account", "link", "cashapp")


@dataclass(frozen=True)
class Outcome:
    """accepted: on its way, its event will tell. sent: the invoice is out. failed: with Stripe's code. later: somebody
    is just paying in another way. gone: there is nothing to do any more."""

    kind: Literal["accepted", "sent", "failed", "later", "gone"]
    code: str = NEVER
    url: str | None = None


class Charging:
    """One step for one amount due."""

    backoff = PATIENT

    def __init__(self, database: Database, stripe: Stripe, clock: Clock) -> None:
        self._database = database
        self._stripe = stripe
        self._clock = clock
        self._means = Means(stripe, self._begin)

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[UnitOfWork]:
        async with self._database.transaction() as db:
            yield UnitOfWork(db=db, source=SERVICE, now=utc_now())

    async def perform(self, job: Job) -> Outcome:
        async with self._begin() as uow:
            found = await repository.lock(uow.db, UUID(job.payload["schedule_id"]))
        if found is None or not _current(job, found[1]):
            return Outcome("gone")
        purchase, row = found
        if not self._stripe.configured:
            return Outcome("failed")
        try:
            if purchase.payer == "sponsor" or row.stripe_invoice_id is not None:
                return await self._bill(purchase, row)
            customer_id = await self._customer(purchase.student_id)
            method_id = await self._method(customer_id)
            if method_id is None:
                return await self._bill(purchase, row, customer_id)
            return await self._charge(row, customer_id, method_id, key=f"{job.key}/{job.attempt}")
        except NotDue:
            return Outcome("later")
        except StripeRefuses as refused:
            log.error("installment refused", schedule=str(row.id), code=refused.code)
            return Outcome("failed", code=refused.code)

    async def _charge(self, row: Row[Any], customer_id: str, method_id: str, *, key: str) -> Outcome:
        intent = await self._means.intent(row.id, customer_id)
        if not over(intent):
            intent = await self._stripe.charge_off_session(intent.id, method_id=method_id, key=key)
        if intent.status in ("succeeded", "processing"):
            return Outcome("accepted")
        if intent.status == "canceled":
            raise Transient("the intent was canceled just now")
        return Outcome("failed", code=intent.failure_code or intent.status)

    async def _bill(self, purchase: Row[Any], row: Row[Any], customer_id: str | None = None) -> Outcome:
        """The first time it is sent; after that, it is looked at."""
        known = row.stripe_invoice_id
        if known is not None:
            invoice = await self._stripe.sent_invoice(known)
            if invoice.status == "paid" or await self._stripe.invoice_under_way(known):
                return Outcome("accepted")
            if invoice.status == "open" and invoice.url == row.pay_url:
                return Outcome("failed")
        if purchase.payer == "sponsor":
            customer_id = await self._sponsor(purchase)
        customer_id = customer_id or await self._customer(purchase.student_id)
        sent = await self._means.invoice(row.id, customer_id)
        return Outcome("accepted") if sent.status == "paid" else Outcome("sent", url=sent.url)

    async def _customer(self, student_id: UUID) -> str:
        async with self._begin() as uow:
            known = await purchases.read_customer(uow.db, student_id)
            contact = await repository.contact_of(uow.db, student_id)
        if known is not None:
            return str(known.stripe_customer_id)
        customer_id = await customers.make(self._stripe, student_id)
        if contact is not None:
            await self._stripe.tell_customer(customer_id, email=contact.email, name=contact.name)
        async with self._begin() as uow:
            return await purchases.keep_customer(uow.db, student_id, customer_id, contact, at=uow.now)

    async def _sponsor(self, purchase: Row[Any]) -> str:
        async with self._begin() as uow:
            known = await repository.sponsor_customer(uow.db, str(purchase.funding_source))
        if known is None:
            raise StripeRefuses("no_sponsor_customer")
        return known

    async def _method(self, customer_id: str) -> str | None:
        """The customer's default, else what they have saved last."""
        if default := await self._stripe.default_method(customer_id):
            return default
        saved = await self._stripe.saved_methods(customer_id)
        return next((method.id for method in saved if method.type in _CHARGEABLE), None)

    async def record(self, job: Job, result: Outcome, uow: UnitOfWork) -> None:
        found = await repository.lock(uow.db, UUID(job.payload["schedule_id"]))
        if found is None or not _current(job, found[1]) or found[1].next_attempt_at is not None:
            return  # its events were faster, or somebody has changed it
        purchase, row = found
        now = await self._clock.now_in(uow.db)
        match result.kind:
            case "accepted":
                await repository.write(uow.db, row.id, at=uow.now, status="processing")
            case "sent":
                attempts = row.attempts + 1
                again = after_attempt(attempts=attempts, now=now)
                at = again.at if isinstance(again, Again) else now
                values = {"attempts": attempts, "next_attempt_at": at, "pay_url": result.url or row.pay_url}
                await repository.write(uow.db, row.id, at=uow.now, **values)
            case "failed":
                await transitions.failed(uow, purchase, row, code=result.code, now=now)
            case "later" | "gone":
                again = after_attempt(attempts=1, now=now)
                assert isinstance(again, Again)  # noqa: S101
                await repository.write(uow.db, row.id, at=uow.now, next_attempt_at=again.at)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("installment given up", schedule=job.payload["schedule_id"])
        await self.record(job, Outcome("failed", code="unavailable"), uow)


def _current(job: Job, row: Row[Any]) -> bool:
    here = (row.round, row.timers) == (job.payload["round"], job.payload["timer"])
    return bool(row.status == "open" and here)


class Closing:
    """Ends an intent or an invoice of an amount that is not owed any more. One that was paid is told by its event."""

    backoff = PATIENT

    def __init__(self, stripe: Stripe) -> None:
        self._stripe = stripe

    async def perform(self, job: Job) -> str:
        """How it stands then."""
        id, key = str(job.payload["id"]), f"{job.payload['id']}/end"
        try:
            if job.payload["what"] == "intent":
                return (await self._stripe.cancel_intent(id, key=key)).status
            return (await self._stripe.end_invoice(id, key=key)).status
        except StripeRefuses as refused:
            if refused.code == "resource_missing":
                return "canceled"
            raise Transient(str(refused)) from refused

    async def record(self, job: Job, result: str, uow: UnitOfWork) -> None:
        log.info("closed", what=job.payload["what"], status=result, purchase=job.payload["purchase_id"])

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("stays open", what=job.payload["what"], purchase=job.payload["purchase_id"])


class EnrollmentExpiry:
    """Ends an enrollment whose first amount nobody has paid, so that what it had reserved is free again."""

    backoff = PATIENT

    def __init__(self, database: Database, stripe: Stripe) -> None:
        self._database = database
        self._stripe = stripe

    async def perform(self, job: Job) -> bool:
        """Whether none of it can be paid any more."""
        async with self._database.transaction() as db:
            purchase = await purchases.read_row(db, UUID(job.payload["purchase_id"]))
            rows = await repository.of_purchase(db, UUID(job.payload["purchase_id"]))
        if purchase is None or State(purchase.state) not in _UNPAID:
            return False
        if not self._stripe.configured:
            return True
        means = Means(self._stripe, lambda: _begin(self._database))
        try:
            return all([await means.end(row) for row in rows])
        except StripeRefuses as refused:
            raise Transient(str(refused)) from refused

    async def record(self, job: Job, result: bool, uow: UnitOfWork) -> None:
        if result:
            await end_unpaid(uow, UUID(job.payload["purchase_id"]), State.EXPIRED)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("enrollment stays open", purchase=job.payload["purchase_id"])


async def end_unpaid(uow: UnitOfWork, purchase_id: UUID, state: State) -> bool:
    """Closes an unpaid enrollment and its rows. False: it has moved on meanwhile."""
    purchase = await purchases.lock_purchase(uow.db, purchase_id)
    if purchase is None or State(purchase.state) not in _UNPAID:
        return False
    rows = await repository.of_purchase(uow.db, purchase_id)
    if any(row.status in ("processing", "paid", "waived") for row in rows):
        return False  # the event of it is on its way
    for row in rows:
        if row.status != "canceled":
            await transitions.close(uow, purchase, row, because="ended")
    await purchases.close_purchase(uow.db, purchase_id, state=state, at=uow.now)
    return True


@asynccontextmanager
async def _begin(database: Database) -> AsyncIterator[UnitOfWork]:
    async with database.transaction() as db:
        yield UnitOfWork(db=db, source=SERVICE, now=utc_now())
