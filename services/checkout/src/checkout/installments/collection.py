"""The job that collects one due installment. See docs/decisions/0014.

Stripe's response to a charge grants nothing: an installment is paid once its verified event has arrived.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from checkout.installments import collection_stop, repository, sponsor_invoices, transitions
from checkout.installments.clock import Clock
from checkout.installments.domain import Installment
from checkout.installments.guard import may_charge
from checkout.installments.invoice_terms import reminder_at
from checkout.installments.payment_requests import NotDue, PaymentRequests
from checkout.installments.retries import (
    AUTHENTICATION_REQUIRED,
    NEEDS_PAYER,
    NO_METHOD,
    NOT_PAID,
    RETRIES,
    Failure,
    GiveUp,
    Retry,
    charges_again,
    next_charge_at,
)
from checkout.purchases import customers, student_repository
from checkout.purchases.jobs import PATIENT
from checkout.purchases.repository import PurchaseRow
from checkout.reminder_days import REMINDER_DAYS
from checkout.stripe_client import Intent, InvoiceCharge, Stripe, StripeRejected
from checkout.topology import SERVICE
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.jobs.jobs import Job
from kit.runtime.failures import Transient

log = structlog.get_logger(__name__)

_CHARGEABLE = ("card", "us_bank_account", "link", "cashapp")
_PROCESSING = ("processing", "succeeded")


@dataclass(frozen=True)
class Accepted:
    """Paid, or being processed: its event will follow."""


@dataclass(frozen=True)
class Sent:
    """The invoice is out."""


@dataclass(frozen=True)
class Postponed:
    """Nothing was charged now. `until` None: the payer is paying it right now."""

    until: datetime | None = None


@dataclass(frozen=True)
class Obsolete:
    """There is nothing left to collect."""


CollectionResult = Accepted | Sent | Failure | Postponed | Obsolete


class CollectionJob:
    """Collects one due installment: charges the saved payment method, or sends the invoice and its reminders."""

    backoff = PATIENT

    def __init__(
        self, database: Database, stripe: Stripe, clock: Clock, *, reminders: tuple[int, ...] = REMINDER_DAYS
    ) -> None:
        """`reminders`: when a sponsor is reminded, in days after the due date."""
        self._database = database
        self._stripe = stripe
        self._clock = clock
        self._reminders = reminders
        self._requests = PaymentRequests(stripe, lambda: begin(database))

    async def perform(self, job: Job) -> CollectionResult:
        async with begin(self._database) as uow:
            found = await repository.lock(uow.db, UUID(job.payload["installment_id"]))
        if found is None or not _is_current(job, found[1]) or found[0].collection_stopped is not None:
            return Obsolete()
        purchase, installment = found
        if not self._stripe.configured:
            return await self._remind(installment) if purchase.payer == "sponsor" else Failure(code=NOT_PAID)
        try:
            if installment.is_co_pay:
                return await self._await(installment)
            if purchase.payer == "sponsor":
                return await self._send(purchase, installment)
            return await self._charge(job, purchase, installment)
        except NotDue:
            return Postponed()
        except StripeRejected as rejected:
            log.error("installment rejected by Stripe", installment=str(installment.id), code=rejected.code)
            if (rejected.code, rejected.param) == ("resource_missing", "customer"):
                if purchase.payer == "student":  # a sponsor's is replaced before its invoice is made
                    await self._replace_customer(purchase.student_id)
                raise Transient("the customer was deleted at Stripe") from rejected
            return Failure(code=rejected.code)

    # --- a student's: charged to the saved payment method -------------------------------------------------------------

    async def _charge(self, job: Job, purchase: PurchaseRow, installment: Installment) -> CollectionResult:
        customer_id = await self._customer(purchase.student_id)
        invoice = await self._requests.invoice(installment.id, customer_id)
        if invoice.status == "paid":
            return Accepted()
        intent = await self._stripe.invoice_intent(invoice.id)
        if intent is not None and intent.status in _PROCESSING:
            return Accepted()
        if intent is not None and _verifies_account(intent):
            return Postponed()
        method_id = await self._method(customer_id)
        if method_id is None:
            return Failure(code=NO_METHOD)
        if not charges_again(
            failure_code=installment.failure_code, charged_method=installment.charged_method, method=method_id
        ):
            return Failure(code=str(installment.failure_code))
        claimed = await self._claim(job, method_id)
        if not isinstance(claimed, Accepted):
            return claimed
        charge = await self._stripe.pay_invoice(invoice.id, method_id=method_id, key=f"{job.key}/pay")
        return _result(charge)

    async def _claim(self, job: Job, method_id: str) -> Accepted | Postponed | Obsolete:
        """Commits that this job is about to charge, or says why it must not: another charge of the purchase was less
        than a day ago, or the price has no such amount left."""
        async with begin(self._database) as uow:
            found = await repository.lock(uow.db, UUID(job.payload["installment_id"]))
            if found is None or not _is_current(job, found[1]) or found[0].collection_stopped is not None:
                return Obsolete()
            purchase, installment = found
            now = await self._clock.now_in(uow.db)
            plan = await repository.of_purchase(uow.db, purchase.id)
            charged = [each.charged_at for each in plan if each.charged_at and each.charge_key != job.key]
            until = next_charge_at(max(charged, default=None))
            if until is not None and until > now:
                return Postponed(until)
            if not may_charge(installment, received=purchase.received, price=purchase.amount, installments=plan):
                await collection_stop.stop(uow, purchase, "received_more_than_owed", received=purchase.received)
                return Obsolete()
            await repository.write(
                uow.db, installment.id, at=uow.now, charged_at=now, charge_key=job.key, charged_method=method_id
            )
            return Accepted()

    async def _customer(self, student_id: UUID) -> str:
        async with begin(self._database) as uow:
            customer = await student_repository.read_customer(uow.db, student_id)
            contact = await student_repository.read_contact(uow.db, student_id)
        if customer is not None:
            return customer.stripe_customer_id
        customer_id = await customers.create_with_contact(self._stripe, student_id, contact)
        async with begin(self._database) as uow:
            return await student_repository.save_customer(uow.db, student_id, customer_id, contact, at=uow.now)

    async def _replace_customer(self, student_id: UUID) -> None:
        async with begin(self._database) as uow:
            customer = await student_repository.read_customer(uow.db, student_id)
            contact = await student_repository.read_contact(uow.db, student_id)
        if customer is not None:
            gone = customer.stripe_customer_id
            customer_id = await customers.create_with_contact(self._stripe, student_id, contact, after=gone)
            async with begin(self._database) as uow:
                await student_repository.replace_customer(uow.db, student_id, gone, customer_id, at=uow.now)

    async def _method(self, customer_id: str) -> str | None:
        """The customer's default payment method, else the one saved last."""
        if default := await self._stripe.default_method(customer_id):
            return default
        saved = await self._stripe.saved_methods(customer_id)
        return next((method.id for method in saved if method.type in _CHARGEABLE), None)

    # --- a sponsor's: sent with terms ---------------------------------------------------------------------------------

    async def _send(self, purchase: PurchaseRow, installment: Installment) -> CollectionResult:
        """Sends the invoice; from the due date on, asks whether it was paid, and reminds its payer."""
        if (invoice_id := installment.stripe_invoice_id) is not None:
            if await self._is_being_paid(invoice_id):
                return Accepted()
            invoice = await self._stripe.invoice(invoice_id)
            if invoice.status == "open" and await self._clock.now() >= installment.due_at:
                return await self._remind(installment)
        sent = await sponsor_invoices.send(self._stripe, lambda: begin(self._database), purchase, installment.id)
        return Accepted() if sent.status == "paid" else Sent()

    async def _await(self, installment: Installment) -> CollectionResult:
        """A co-pay is never charged to a saved method: its student pays it by the link, and is reminded."""
        async with begin(self._database) as uow:
            if await repository.awaits_sponsor(uow.db, installment):
                return Postponed()  # the sponsor's payment was taken back meanwhile
        if installment.stripe_invoice_id is not None and await self._is_being_paid(installment.stripe_invoice_id):
            return Accepted()
        return await self._remind(installment)

    async def _is_being_paid(self, invoice_id: str) -> bool:
        return (await self._stripe.invoice_charge(invoice_id)).status != "failed"

    async def _remind(self, installment: Installment) -> Failure | Postponed:
        remind_at = reminder_at(installment.due_at, installment.attempts, self._reminders)
        later = remind_at is not None and await self._clock.now() < remind_at
        return Postponed(remind_at) if later else Failure(code=NOT_PAID)

    # --- the outcome --------------------------------------------------------------------------------------------------

    async def record(self, job: Job, result: CollectionResult, uow: UnitOfWork) -> None:
        found = await repository.lock(uow.db, UUID(job.payload["installment_id"]))
        if found is None or not _is_current(job, found[1]) or found[1].next_attempt_at is not None:
            return  # its events arrived first, or it was changed meanwhile
        purchase, installment = found
        now = await self._clock.now_in(uow.db)
        log.info(
            "installment attempted",
            purchase=str(purchase.id),
            installment=str(installment.id),
            outcome=type(result).__name__.lower(),
            code=getattr(result, "code", None),
        )
        match result:
            case Accepted():
                await repository.write(uow.db, installment.id, at=uow.now, status="processing", failure_code=None)
            case Sent():
                at = max(installment.due_at, now + RETRIES[0])
                await repository.write(uow.db, installment.id, at=uow.now, next_attempt_at=at)
            case Failure() if purchase.payer == "sponsor":
                next_at = reminder_at(installment.due_at, installment.attempts + 1, self._reminders)
                follows = Retry(max(next_at, now + RETRIES[0])) if next_at else GiveUp()
                await transitions.failed(uow, purchase, installment, result, now=now, follows=follows)
            case Failure():
                await transitions.failed(uow, purchase, installment, result, now=now)
            case Postponed(until=until):
                at = now + RETRIES[0] if until is None else until
                await repository.write(uow.db, installment.id, at=uow.now, next_attempt_at=at)
            case Obsolete():
                await repository.write(uow.db, installment.id, at=uow.now, next_attempt_at=now + RETRIES[0])

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("collecting an installment failed", installment=job.payload["installment_id"])
        await self.record(job, Failure(code="unavailable"), uow)


def _is_current(job: Job, installment: Installment) -> bool:
    same = (installment.round, installment.timers) == (job.payload["round"], job.payload["timer"])
    return installment.status == "open" and same


def _verifies_account(intent: Intent) -> bool:
    """The payer is waiting for micro-deposits, which take days."""
    return intent.status == "requires_action" and intent.action == "verify_with_microdeposits"


def _result(charge: InvoiceCharge) -> CollectionResult:
    if charge.status == "failed":
        code = AUTHENTICATION_REQUIRED if charge.code in NEEDS_PAYER else charge.code
        return Failure(code=code, advice=charge.advice, method=charge.method)
    return Accepted()


@asynccontextmanager
async def begin(database: Database) -> AsyncIterator[UnitOfWork]:
    """A transaction of the relay, which sees all rows."""
    async with database.transaction() as db:
        yield UnitOfWork(db=db, source=SERVICE, now=utc_now())
