"""Jobs on installments: collecting them, ending their intents and invoices, and expiring unpaid enrollments.

Stripe's response to a charge grants nothing: an installment is paid once its verified event has arrived.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import structlog

from checkout.installments import repository, transitions
from checkout.installments.clock import Clock
from checkout.installments.domain import NOT_PAID, RETRIES, Installment, Retry, after_attempt
from checkout.installments.payment_requests import NotDue, PaymentRequests, is_final
from checkout.purchases import customers, student_repository
from checkout.purchases import repository as purchases
from checkout.purchases.domain import Change, State
from checkout.purchases.jobs import PATIENT
from checkout.purchases.repository import PurchaseRow
from checkout.stripe_client import Stripe, StripeRejected
from checkout.topology import SERVICE
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.jobs.jobs import Job
from kit.runtime.failures import Transient

log = structlog.get_logger(__name__)

_UNPAID = (State.CREATED, State.AWAITING_PAYMENT, State.EXPIRED)
"""Includes expired purchases whose installments are still open."""
_CHARGEABLE = ("card", "us_bank_account", "link", "cashapp")


@dataclass(frozen=True)
class CollectionResult:
    """accepted: the payment is processing, and its event will follow. sent: the invoice is out. failed: with a failure
    code. postponed: the payer is paying it right now. obsolete: there is nothing left to collect."""

    kind: Literal["accepted", "sent", "failed", "postponed", "obsolete"]
    code: str = NOT_PAID
    url: str | None = None


class CollectionJob:
    """Collects one due installment: charges the saved payment method, or sends the invoice and its reminders."""

    backoff = PATIENT

    def __init__(self, database: Database, stripe: Stripe, clock: Clock) -> None:
        self._database = database
        self._stripe = stripe
        self._clock = clock
        self._requests = PaymentRequests(stripe, lambda: _begin(database))

    async def perform(self, job: Job) -> CollectionResult:
        async with _begin(self._database) as uow:
            found = await repository.lock(uow.db, UUID(job.payload["installment_id"]))
        if found is None or not _is_current(job, found[1]):
            return CollectionResult("obsolete")
        purchase, installment = found
        if not self._stripe.configured:
            return CollectionResult("failed")
        try:
            if purchase.payer == "sponsor" or installment.stripe_invoice_id is not None:
                return await self._invoice(purchase, installment)
            customer_id = await self._customer(purchase.student_id)
            method_id = await self._method(customer_id)
            if method_id is None:
                return await self._invoice(purchase, installment, customer_id)
            return await self._charge(installment, customer_id, method_id, key=f"{job.key}/{job.attempt}")
        except NotDue:
            return CollectionResult("postponed")
        except StripeRejected as rejected:
            log.error("installment rejected by Stripe", installment=str(installment.id), code=rejected.code)
            return CollectionResult("failed", code=rejected.code)

    async def _charge(
        self, installment: Installment, customer_id: str, method_id: str, *, key: str
    ) -> CollectionResult:
        intent = await self._requests.intent(installment.id, customer_id)
        if not is_final(intent):
            intent = await self._stripe.charge_off_session(intent.id, method_id=method_id, key=key)
        if intent.status in ("succeeded", "processing"):
            return CollectionResult("accepted")
        if intent.status == "canceled":
            raise Transient("the intent was canceled a moment ago")
        return CollectionResult("failed", code=intent.failure_code or intent.status)

    async def _invoice(
        self, purchase: PurchaseRow, installment: Installment, customer_id: str | None = None
    ) -> CollectionResult:
        """Sends the invoice the first time; afterward, checks whether it was paid."""
        if (invoice_id := installment.stripe_invoice_id) is not None:
            invoice = await self._stripe.sent_invoice(invoice_id)
            if invoice.status == "paid" or await self._stripe.invoice_in_progress(invoice_id):
                return CollectionResult("accepted")
            if invoice.status == "open" and invoice.url == installment.pay_url:
                return CollectionResult("failed")
        if purchase.payer == "sponsor":
            customer_id = await self._sponsor_customer(purchase)
        customer_id = customer_id or await self._customer(purchase.student_id)
        sent = await self._requests.invoice(installment.id, customer_id)
        return CollectionResult("accepted") if sent.status == "paid" else CollectionResult("sent", url=sent.url)

    async def _customer(self, student_id: UUID) -> str:
        async with _begin(self._database) as uow:
            customer = await student_repository.read_customer(uow.db, student_id)
            contact = await student_repository.read_contact(uow.db, student_id)
        if customer is not None:
            return customer.stripe_customer_id
        customer_id = await customers.create(self._stripe, student_id)
        if contact is not None:
            await self._stripe.update_customer(customer_id, email=contact.email, name=contact.name)
        async with _begin(self._database) as uow:
            return await student_repository.save_customer(uow.db, student_id, customer_id, contact, at=uow.now)

    async def _sponsor_customer(self, purchase: PurchaseRow) -> str:
        async with _begin(self._database) as uow:
            customer_id = await repository.sponsor_customer(uow.db, str(purchase.funding_source))
        if customer_id is None:
            raise StripeRejected("no_sponsor_customer")
        return customer_id

    async def _method(self, customer_id: str) -> str | None:
        """The customer's default payment method, else the one saved last."""
        if default := await self._stripe.default_method(customer_id):
            return default
        saved = await self._stripe.saved_methods(customer_id)
        return next((method.id for method in saved if method.type in _CHARGEABLE), None)

    async def record(self, job: Job, result: CollectionResult, uow: UnitOfWork) -> None:
        found = await repository.lock(uow.db, UUID(job.payload["installment_id"]))
        if found is None or not _is_current(job, found[1]) or found[1].next_attempt_at is not None:
            return  # its events arrived first, or it was changed meanwhile
        purchase, installment = found
        now = await self._clock.now_in(uow.db)
        match result.kind:
            case "accepted":
                await repository.write(uow.db, installment.id, at=uow.now, status="processing")
            case "sent":
                attempts = installment.attempts + 1
                retry = after_attempt(attempts=attempts, now=now)
                await repository.write(
                    uow.db,
                    installment.id,
                    at=uow.now,
                    attempts=attempts,
                    next_attempt_at=retry.at if isinstance(retry, Retry) else now,
                    pay_url=result.url or installment.pay_url,
                )
            case "failed":
                await transitions.failed(uow, purchase, installment, code=result.code, now=now)
            case "postponed" | "obsolete":
                await repository.write(uow.db, installment.id, at=uow.now, next_attempt_at=now + RETRIES[0])

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("collecting an installment failed", installment=job.payload["installment_id"])
        await self.record(job, CollectionResult("failed", code="unavailable"), uow)


def _is_current(job: Job, installment: Installment) -> bool:
    same = (installment.round, installment.timers) == (job.payload["round"], job.payload["timer"])
    return installment.status == "open" and same


class CloseJob:
    """Ends an intent or an invoice of an installment that is no longer owed. If it was paid, its event reports that."""

    backoff = PATIENT

    def __init__(self, stripe: Stripe) -> None:
        self._stripe = stripe

    async def perform(self, job: Job) -> str:
        """The resulting status at Stripe."""
        id, key = str(job.payload["id"]), f"{job.payload['id']}/end"
        try:
            if job.payload["what"] == "intent":
                return (await self._stripe.cancel_intent(id, key=key)).status
            return (await self._stripe.end_invoice(id, key=key)).status
        except StripeRejected as rejected:
            if rejected.code == "resource_missing":
                return "canceled"
            raise Transient(str(rejected)) from rejected

    async def record(self, job: Job, result: str, uow: UnitOfWork) -> None:
        what, purchase = job.payload["what"], job.payload["purchase_id"]
        log.info("ended at Stripe", what=what, status=result, purchase=purchase)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("could not be ended at Stripe", what=job.payload["what"], purchase=job.payload["purchase_id"])


class EnrollmentExpiryJob:
    """Ends an enrollment whose first installment was never paid, and releases what it had reserved."""

    backoff = PATIENT

    def __init__(self, database: Database, stripe: Stripe) -> None:
        self._database = database
        self._stripe = stripe

    async def perform(self, job: Job) -> bool:
        """Whether none of its installments can be paid anymore."""
        purchase_id = UUID(job.payload["purchase_id"])
        async with self._database.transaction() as db:
            purchase = await purchases.read_row(db, purchase_id)
            installments = await repository.of_purchase(db, purchase_id)
        if purchase is None or purchase.state not in _UNPAID:
            return False
        if not self._stripe.configured:
            return True
        requests = PaymentRequests(self._stripe, lambda: _begin(self._database))
        try:
            return all([await requests.end(each) for each in installments])
        except StripeRejected as rejected:
            raise Transient(str(rejected)) from rejected

    async def record(self, job: Job, result: bool, uow: UnitOfWork) -> None:
        if result:
            await expire_unpaid(uow, UUID(job.payload["purchase_id"]))

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("unpaid enrollment could not be expired", purchase=job.payload["purchase_id"])


async def expire_unpaid(uow: UnitOfWork, purchase_id: UUID) -> bool:
    """Expires an unpaid purchase and closes its installments. False if it has changed meanwhile."""
    purchase = await purchases.lock_purchase(uow.db, purchase_id)
    if purchase is None or purchase.state not in _UNPAID:
        return False
    installments = await repository.of_purchase(uow.db, purchase_id)
    if any(each.status in ("processing", "paid", "waived") for each in installments):
        return False  # its event has not arrived yet
    for installment in installments:
        if installment.status != "canceled":
            await transitions.close(uow, purchase, installment, because="ended")
    await purchases.change_state(uow.db, purchase_id, Change.EXPIRED, at=uow.now)
    return True


@asynccontextmanager
async def _begin(database: Database) -> AsyncIterator[UnitOfWork]:
    async with database.transaction() as db:
        yield UnitOfWork(db=db, source=SERVICE, now=utc_now())
