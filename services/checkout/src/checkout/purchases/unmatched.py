"""Payments that name nobody or nothing that checkout has.

Nothing of them is published for some minutes: an invoice's intent has no metadata of its own, and the event that
connects it with its invoice arrives a moment later. What is still unmatched then is listed for admins and published
once as `payment.unmatched.v1`. An event that matches it later resolves it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.purchases import external_purchase, unmatched_repository
from checkout.purchases.external_purchase import UnmatchedCode
from checkout.purchases.repository import PurchaseRow
from checkout.purchases.unmatched_repository import UnmatchedPayment, UnmatchedStatus, UnmatchedValues
from checkout.stripe_client import Stripe, StripeRefund, StripeRejected
from contracts.checkout import PaymentUnmatched
from contracts.payments import PaymentEvent, PaymentRefs
from kit.db.unit_of_work import UnitOfWork
from kit.jobs.jobs import Job
from kit.runtime.backoff import Backoff
from kit.runtime.failures import Permanent, describe
from ledger.payment import Payment
from ledger.purchase import Purchase

log = structlog.get_logger(__name__)

ANNOUNCEMENT = "unmatched_payment"
REFUND = "unmatched_refund"
"""The kinds of jobs: publishing that it is unmatched, and refunding it at Stripe."""
UNMATCHED_DELAY = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True)
class Match:
    """What a purchase's events have led to. `row` None: to nothing that checkout has; `code`: why."""

    uow: UnitOfWork
    purchase: Purchase
    row: PurchaseRow | None
    code: UnmatchedCode | None

    @property
    def received(self) -> list[Payment]:
        return [payment for payment in self.purchase.settled_payments if _amount(payment) > 0]


@dataclass
class _Changes:
    """To the rows of unmatched payments."""

    added: list[tuple[UUID, UnmatchedValues]] = field(default_factory=list)
    deleted: list[UUID] = field(default_factory=list)
    resolved: dict[UnmatchedStatus, list[UUID]] = field(default_factory=lambda: defaultdict(list))

    async def write(self, db: AsyncConnection, *, at: datetime) -> None:
        await unmatched_repository.delete(db, self.deleted)
        for status, ids in self.resolved.items():
            await unmatched_repository.resolve(db, ids, status=status, at=at)
        await unmatched_repository.insert(db, self.added, at=at)


async def update_unmatched(matches: Sequence[Match], *, delay: timedelta = UNMATCHED_DELAY) -> None:
    """Lists the payments of purchases that could not be matched, and resolves those of the ones that are matched.

    Costs no statement for purchases whose events all name them, and one for any others that were never listed.
    """
    matches = [each for each in matches if each.received and (each.code is not None or _was_listed(each))]
    if not matches:
        return
    uow = matches[0].uow
    refs = frozenset().union(*(payment.refs for each in matches for payment in each.received))
    stored = await unmatched_repository.lock_listed(uow.db, refs)
    changes = _Changes()
    for each in matches:
        for payment in each.received if stored or each.code is not None else ():
            listed = [row for row in stored if payment.refs & set(row.refs)]
            if each.code is not None:
                await _list(each.uow, _values(each.purchase, payment, each.code), listed, changes, delay=delay)
            elif listed:
                status: UnmatchedStatus = "refunded" if payment.refunded >= _amount(payment) else "matched"
                changes.deleted += [row.id for row in listed if row.status == "pending"]
                changes.resolved[status] += [row.id for row in listed if row.status == "open"]
    await changes.write(uow.db, at=uow.now)


def _was_listed(match: Match) -> bool:
    """Whether one of its payments may have been unmatched before."""
    if match.row is None:
        return False
    facts = (fact for payment in match.received for fact in payment.facts)
    return match.row.recorded_by is not None or any(map(_is_nameless, facts))


def _amount(payment: Payment) -> int:
    return payment.settled.amount if payment.settled is not None else 0


def _is_nameless(fact: PaymentEvent) -> bool:
    return fact.student_id is None


def _values(purchase: Purchase, payment: Payment, code: UnmatchedCode) -> UnmatchedValues:
    assert payment.settled is not None  # noqa: S101  only settled payments get here
    named = external_purchase.named_by(purchase)
    refs = external_purchase.refs_of_payment(payment)
    contacts = [purchase.contact, *(fact.contact for fact in payment.facts)]
    return UnmatchedValues(
        purchase_id=external_purchase.id_of(purchase),
        refs=sorted(payment.refs),
        payment_refs=refs.model_copy(update={"subscription": min(purchase.subscriptions, default=None)}),
        amount=payment.settled.amount,
        refunded=min(payment.refunded, payment.settled.amount),
        currency=payment.settled.currency,
        email=min((contact.email for contact in contacts if contact), default=None),
        payer="student" if named.sponsor is None else "sponsor",
        funding_source=named.sponsor,
        installments=external_purchase.stated_installments(purchase),
        code=code,
    )


async def _list(
    uow: UnitOfWork,
    values: UnmatchedValues,
    listed: Sequence[UnmatchedPayment],
    changes: _Changes,
    *,
    delay: timedelta,
) -> None:
    """One row for the payment, however many rows its references had before they were connected."""
    refunded = values.refunded >= values.amount
    if not listed:
        if not refunded:
            changes.added.append((id := uuid4(), values))
            payload = {"purchase_id": str(values.purchase_id)}
            await uow.enqueue(ANNOUNCEMENT, key=str(id), payload=payload, available_at=uow.now + delay)
        return
    kept, *others = listed
    changes.deleted += [each.id for each in others]
    status = "refunded" if refunded else "open" if kept.status in ("matched", "refunded") else kept.status
    await unmatched_repository.write(uow.db, kept, values, status=status, at=uow.now)


class UnmatchedAnnouncement:
    """Publishes, once, that a payment is still unmatched."""

    backoff = Backoff()

    async def perform(self, job: Job) -> None:
        """There is nothing to do outside the database."""

    async def record(self, job: Job, result: None, uow: UnitOfWork) -> None:
        payment = await unmatched_repository.lock(uow.db, UUID(job.key))
        if payment is None or payment.status != "pending":
            return  # it was matched, refunded or assigned meanwhile
        await unmatched_repository.write_status(uow.db, payment.id, status="open", at=uow.now)
        event = PaymentUnmatched(refs=payment.payment_refs, amount=payment.left, code=payment.code)
        await uow.publish(event, id=f"{payment.id}/{event.type}", subject=str(payment.purchase_id))
        log.warning("payment unmatched", payment=str(payment.id), code=payment.code)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        log.error("unmatched payment could not be published", payment=job.key)


async def enqueue_refund(uow: UnitOfWork, payment: UnmatchedPayment) -> None:
    """Once per decision of an admin, which may follow a refund that failed. The key is Stripe's idempotency key too."""
    payload = {
        "purchase_id": str(payment.purchase_id),
        "unmatched_payment_id": str(payment.id),
        "amount": payment.left.amount,
        "refs": payment.payment_refs.model_dump(mode="json", exclude_none=True),
    }
    await uow.enqueue(REFUND, key=f"{payment.id}/{uow.now.isoformat()}", payload=payload)


class UnmatchedRefund:
    """Refunds an unmatched payment at Stripe. Stripe forgets keys after a day, so a retry first looks for the
    refund."""

    backoff = Backoff(longest=timedelta(hours=1), attempts=100)

    def __init__(self, stripe: Stripe) -> None:
        self._stripe = stripe

    async def perform(self, job: Job) -> StripeRefund:
        """Raises StripeRejected if Stripe rejects the refund for good."""
        of = await self._payment(PaymentRefs.model_validate(job.payload["refs"]))
        metadata = {"unmatched_payment_id": str(job.payload["unmatched_payment_id"]), "unmatched_refund": job.key}
        if job.attempt > 1 and (made := await self._stripe.find_refund(of=of, metadata=metadata)) is not None:
            return made
        amount = int(job.payload["amount"])
        return await self._stripe.create_refund(of=of, amount=amount, metadata=metadata, key=f"refund/{job.key}")

    async def _payment(self, refs: PaymentRefs) -> dict[str, str]:
        """The object to refund, as Stripe's parameter."""
        if refs.payment_intent:
            return {"payment_intent": refs.payment_intent}
        if refs.charge:
            return {"charge": refs.charge}
        intent = await self._stripe.intent_of_invoice(refs.invoice) if refs.invoice else None
        if intent is None:
            raise Permanent("no_payment_to_refund")
        return {"payment_intent": intent}

    async def record(self, job: Job, result: StripeRefund, uow: UnitOfWork) -> None:
        if result.status in ("failed", "canceled"):
            await self._reopen(job, result.failure or result.status, uow)
            return
        payment = await unmatched_repository.lock(uow.db, UUID(job.payload["unmatched_payment_id"]))
        if payment is not None:
            await unmatched_repository.write_status(uow.db, payment.id, status="refunded", at=uow.now)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        await self._reopen(job, error.code if isinstance(error, StripeRejected) else describe(error), uow)

    async def _reopen(self, job: Job, failure: str, uow: UnitOfWork) -> None:
        """The money is still here, and an admin has to decide again."""
        id = UUID(job.payload["unmatched_payment_id"])
        log.error("unmatched payment could not be refunded", payment=str(id), code=failure)
        await unmatched_repository.write_status(uow.db, id, status="open", failure=failure[:200], at=uow.now)
