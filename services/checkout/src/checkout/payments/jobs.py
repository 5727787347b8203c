"""Refunds at Stripe."""

from __future__ import annotations

from uuid import UUID

import structlog

from checkout.payments import projection, repository
from checkout.payments.domain import RefundStatus, final_status
from checkout.payments.event_handlers import PaymentsMerged, refresh_payments
from checkout.payments.refund_failures import publish_failed
from checkout.payments.repository import RefundChanges
from checkout.purchases.jobs import PATIENT
from checkout.purchases.repository import lock_purchase
from checkout.stripe_client import Stripe, StripeRefund, StripeRejected
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.jobs.jobs import Job
from kit.runtime.failures import Permanent, describe

log = structlog.get_logger(__name__)


class StripeRefundJob:
    """Makes one refund at Stripe, however often it is retried. The refund's id is the idempotency key; Stripe forgets
    keys after a day, so a retry first looks for the refund."""

    backoff = PATIENT

    def __init__(self, database: Database, stripe: Stripe, on_merged: PaymentsMerged) -> None:
        self._database = database
        self._stripe = stripe
        self._on_merged = on_merged

    async def perform(self, job: Job) -> StripeRefund:
        """Raises StripeRejected if Stripe rejects the refund for good."""
        await self._check(job)
        payment = await self._payment(job)
        metadata = {name: str(job.payload[name]) for name in ("refund_id", "purchase_id")}
        if job.attempt > 1 and (made := await self._stripe.find_refund(of=payment, metadata=metadata)) is not None:
            return made
        return await self._stripe.create_refund(
            of=payment, amount=int(job.payload["amount"]), metadata=metadata, key=f"refund/{job.key}"
        )

    async def _check(self, job: Job) -> None:
        """Raises Permanent unless the job is what its refund says. Requests enqueue such jobs, and a stolen password of
        theirs must not refund any payment that it names."""
        async with self._database.transaction() as db:
            refund = await repository.find_refund(db, UUID(job.key))
            payment = None if refund is None else await repository.read_payment(db, refund.payment_id)
        if refund is None or payment is None or payment.status != "succeeded":
            raise Permanent("no_refund_for_job")
        named = {job.payload[each] for each in ("payment_intent", "charge", "invoice")} - {None}
        stored = {payment.stripe_payment_intent_id, payment.stripe_charge_id, payment.stripe_invoice_id, *payment.refs}
        agrees = (str(refund.id), str(refund.purchase_id), refund.amount) == (
            str(job.payload["refund_id"]),
            str(job.payload["purchase_id"]),
            int(job.payload["amount"]),
        )
        if not named <= stored or not agrees:
            raise Permanent("job_differs_from_refund")

    async def _payment(self, job: Job) -> dict[str, str]:
        """The object to refund, as Stripe's parameter."""
        if intent := job.payload["payment_intent"]:
            return {"payment_intent": str(intent)}
        if charge := job.payload["charge"]:
            return {"charge": str(charge)}
        if (intent := await self._stripe.intent_of_invoice(str(job.payload["invoice"]))) is None:
            raise Permanent("no_payment_of_invoice")
        return {"payment_intent": intent}

    async def record(self, job: Job, result: StripeRefund, uow: UnitOfWork) -> None:
        status = projection.REFUND_STATUS.get(result.status, "pending")
        log.info("refund made", refund=job.key, purchase=job.payload["purchase_id"], status=status)
        await self._write(job, status, {"failure": result.failure, "stripe_refund_id": result.id}, uow)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        """Releases the reserved amount: Stripe will not make this refund."""
        failure = error.code if isinstance(error, StripeRejected) else describe(error)
        log.error("refund failed", refund=job.key, code=failure)
        await self._write(job, "failed", {"failure": failure}, uow)

    async def _write(self, job: Job, status: RefundStatus, changes: RefundChanges, uow: UnitOfWork) -> None:
        """Locks the purchase first and then the refund, in the same order as the event handlers."""
        purchase_id = UUID(job.payload["purchase_id"])
        await lock_purchase(uow.db, purchase_id)
        stored = await repository.find_refund(uow.db, UUID(job.key))
        if stored is None:
            return
        changes = {**changes, "status": final_status(stored.status, status)}
        await repository.write_refund(uow.db, stored, at=uow.now, **changes)
        await publish_failed(uow, stored, status=changes["status"], code=changes["failure"])
        await refresh_payments(uow, purchase_id, on_merged=self._on_merged)
