"""Jobs on installments: ending their intents and invoices, asking for the result of a debit, and expiring unpaid
enrollments."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal
from uuid import UUID

import structlog

from checkout.installments import repository, transitions
from checkout.installments.clock import Clock
from checkout.installments.collection import begin
from checkout.installments.domain import Installment
from checkout.installments.payment_requests import PaymentRequests
from checkout.installments.retries import Failure
from checkout.purchases import repository as purchases
from checkout.purchases.domain import Change, State
from checkout.purchases.event_requests import request_events
from checkout.purchases.jobs import PATIENT, awaits_payer
from checkout.stripe_client import InvoiceCharge, Stripe, StripeRejected
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.jobs.jobs import Job
from kit.runtime.failures import Transient

log = structlog.get_logger(__name__)

DEBIT_RESULT = "installment_debit_result"
"""The kind of job that asks Stripe what has become of a debit."""
_UNPAID = (State.CREATED, State.AWAITING_PAYMENT, State.EXPIRED)
"""Includes expired purchases whose installments are still open."""
_FINAL = ("canceled", "succeeded", "void", "paid", "uncollectible")
_LOOK_AGAIN = timedelta(days=1)
_OVER = (State.WITHDRAWN, State.CANCELED, State.FAILED, State.EXPIRED)


async def enqueue_debit_result(uow: UnitOfWork, installment: Installment, *, cause: str) -> None:
    """`cause`: the id of the event that reported a failed attempt."""
    payload = {
        "purchase_id": str(installment.purchase_id),
        "installment_id": str(installment.id),
        "invoice": installment.stripe_invoice_id,
    }
    await uow.enqueue(DEBIT_RESULT, key=f"{installment.reference}/result/{cause}", payload=payload)


class DebitResultJob:
    """Asks why a bank debit of an installment's invoice failed: the invoice's event does not say."""

    backoff = PATIENT

    def __init__(self, stripe: Stripe, clock: Clock) -> None:
        self._stripe = stripe
        self._clock = clock

    async def perform(self, job: Job) -> InvoiceCharge:
        try:
            return await self._stripe.invoice_charge(str(job.payload["invoice"]))
        except StripeRejected as rejected:
            raise Transient(str(rejected)) from rejected

    async def record(self, job: Job, result: InvoiceCharge, uow: UnitOfWork) -> None:
        found = await repository.lock(uow.db, UUID(job.payload["installment_id"]))
        if found is None or result.status != "failed":
            return
        purchase, installment = found
        if installment.status != "processing" or installment.stripe_invoice_id != job.payload["invoice"]:
            return
        if purchase.canceled_at is not None or purchase.state in _OVER:
            await transitions.close(uow, purchase, installment, because="ended")
            return
        failure = Failure(code=result.code, advice=result.advice, method=result.method)
        now = await self._clock.now_in(uow.db)
        await transitions.debit_failed(uow, purchase, installment, failure, now=now)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("result of a debit could not be read", purchase=job.payload["purchase_id"])


class CloseJob:
    """Ends an intent or an invoice of an installment that is no longer owed. If it was paid, its event reports that."""

    backoff = PATIENT

    def __init__(self, stripe: Stripe) -> None:
        self._stripe = stripe

    async def perform(self, job: Job) -> str:
        """The resulting status at Stripe, which is final. What is being debited cannot be ended until the debit has
        settled or failed: then it is tried again."""
        status = await self._end(job.payload["what"], str(job.payload["id"]))
        if status not in _FINAL:
            raise Transient(f"cannot be ended yet: {status}")
        return status

    async def _end(self, what: Literal["intent", "invoice"], id: str) -> str:
        try:
            if what == "intent":
                return (await self._stripe.cancel_intent(id, key=f"{id}/end")).status
            return (await self._stripe.end_invoice(id, key=f"{id}/end")).status
        except StripeRejected as rejected:
            if rejected.code == "resource_missing":
                return "canceled"
            raise Transient(str(rejected)) from rejected

    async def record(self, job: Job, result: str, uow: UnitOfWork) -> None:
        if result in ("succeeded", "paid"):
            await request_events(uow, str(job.payload["id"]))
        what, purchase = job.payload["what"], job.payload["purchase_id"]
        log.info("ended at Stripe", what=what, status=result, purchase=purchase)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("could not be ended at Stripe", what=job.payload["what"], purchase=job.payload["purchase_id"])


class EnrollmentExpiryJob:
    """Ends an enrollment whose first installment was never paid, and releases what it had reserved. While its payer
    verifies a bank account or authenticates, it is looked at again a day later."""

    backoff = PATIENT

    def __init__(self, database: Database, stripe: Stripe, clock: Clock) -> None:
        self._database = database
        self._stripe = stripe
        self._clock = clock

    async def perform(self, job: Job) -> Literal["ended", "waiting", "paid", "kept"]:
        """ended: none of its installments can be paid anymore. paid: one is, or is being paid, although no event of it
        has arrived."""
        purchase_id = UUID(job.payload["purchase_id"])
        async with self._database.transaction() as db:
            purchase = await purchases.read_row(db, purchase_id)
            installments = await repository.of_purchase(db, purchase_id)
        if purchase is None or purchase.state not in _UNPAID:
            return "kept"
        if not self._stripe.configured:
            return "ended"
        requests = PaymentRequests(self._stripe, lambda: begin(self._database))
        try:
            for intent_id in filter(None, (each.stripe_payment_intent_id for each in installments)):
                intent = await self._stripe.intent(intent_id)
                if awaits_payer(intent, started=purchase.created_at, now=utc_now()):
                    return "waiting"
            ended = [await requests.end(each) for each in installments]
        except StripeRejected as rejected:
            raise Transient(str(rejected)) from rejected
        return "ended" if all(ended) else "paid"

    async def record(self, job: Job, result: Literal["ended", "waiting", "paid", "kept"], uow: UnitOfWork) -> None:
        purchase_id = UUID(job.payload["purchase_id"])
        if result == "ended":
            await expire_unpaid(uow, purchase_id)
        elif result == "waiting":
            later = await self._clock.now_in(uow.db) + _LOOK_AGAIN
            await purchases.write_expiry(uow.db, purchase_id, at=later)
        elif result == "paid":
            for each in await repository.of_purchase(uow.db, purchase_id):
                if (object_id := each.stripe_invoice_id or each.stripe_payment_intent_id) is not None:
                    await request_events(uow, object_id)

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
            await transitions.close(uow, purchase, installment, because="expired")
    await purchases.change_state(uow.db, purchase_id, Change.EXPIRED, at=uow.now)
    return True
