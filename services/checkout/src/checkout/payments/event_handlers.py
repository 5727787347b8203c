"""Keeps the rows of payments, refunds and disputes up to date with payment events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.payments import projection, repository
from checkout.payments.domain import PaymentRecord, PaymentValues, final_status
from checkout.payments.projection import EventRecord, ReportedRefund
from checkout.payments.refund_failures import publish_failed
from checkout.purchases.recorder import FACT_RULES
from checkout.purchases.repository import PurchaseRow, lock_purchase
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent
from kit.db.unit_of_work import UnitOfWork
from ledger.facts import fold
from ledger.payment import Payment
from ledger.purchase import Purchase

T = TypeVar("T")
PaymentsMerged = Callable[[AsyncConnection, UUID, UUID], Awaitable[None]]
"""Called with (db, kept, other) before the row `other` is deleted; moves what refers to `other` to `kept`."""


async def update_payments(
    uow: UnitOfWork,
    row: PurchaseRow,
    purchase: Purchase,
    events: Sequence[Envelope[PaymentEvent]],
    *,
    on_merged: PaymentsMerged,
) -> None:
    """Brings the purchase's payments, refunds and disputes in line with all events of it, in any order.

    `row` is the purchase's row, locked by this transaction, so no one else is updating its payments.
    """
    group = await uow.merge(events[0], FACT_RULES)
    await _update(uow, row, purchase, repository.records_of(group.events), on_merged)


async def refresh_payments(uow: UnitOfWork, purchase_id: UUID, *, on_merged: PaymentsMerged) -> None:
    """Does the same without a new event, when a refund at Stripe has turned out to be one of ours. Locks the purchase
    and its payments."""
    row = await lock_purchase(uow.db, purchase_id)
    if row is None:
        return
    events = await repository.events_of_purchase(uow.db, purchase_id)
    for purchase in fold({each.id: each.event for each in events}):
        if purchase.id == purchase_id:
            await _update(uow, row, purchase, events, on_merged)


async def _update(
    uow: UnitOfWork, row: PurchaseRow, purchase: Purchase, events: Sequence[EventRecord], on_merged: PaymentsMerged
) -> None:
    if not purchase.payments:
        return
    refs = frozenset().union(*(payment.refs for payment in purchase.payments))
    stored = await repository.lock_payments(uow.db, row.id, refs)
    for payment, records in _matched(purchase.payments, stored):
        record = await _update_payment(uow, row, payment, records, events, on_merged)
        if refunds := projection.refunds(payment, events):
            await _update_refunds(uow, record, refunds)
        for dispute_id, values in projection.disputes(payment, events).items():
            await repository.write_dispute(uow.db, dispute_id, record, values, at=uow.now)


def _matched(payments: Sequence[Payment], stored: Sequence[PaymentRecord]) -> list[tuple[Payment, list[PaymentRecord]]]:
    """Each payment with its rows. A row can link references before any event does."""
    separate = list(payments)
    for record in stored:
        same = [payment for payment in separate if payment.refs & set(record.refs)]
        if len(same) > 1:
            one = Payment(tuple(fact for payment in same for fact in payment.facts))
            separate = [one, *(payment for payment in separate if payment not in same)]
    return [(payment, [record for record in stored if payment.refs & set(record.refs)]) for payment in separate]


async def _update_payment(
    uow: UnitOfWork,
    row: PurchaseRow,
    payment: Payment,
    records: Sequence[PaymentRecord],
    events: Sequence[EventRecord],
    on_merged: PaymentsMerged,
) -> PaymentRecord:
    """Writes the payment's row; if there are several, the oldest one is kept."""
    for duplicate in records[1:]:
        await on_merged(uow.db, records[0].id, duplicate.id)
        await repository.merge_payments(uow.db, records[0].id, duplicate.id, at=uow.now)
    values = _values(row, payment, records, events)
    if not records:
        return await repository.add_payment(uow.db, values, at=uow.now)
    return await repository.write_payment(uow.db, records[0], values, at=uow.now)


def _values(
    row: PurchaseRow, payment: Payment, records: Sequence[PaymentRecord], events: Sequence[EventRecord]
) -> PaymentValues:
    """What the events say; what they leave open stays as it was stored when the payment was requested."""
    amount = projection.amount(payment)
    oldest = records[0] if records else None
    if amount is not None:
        total, currency = amount.amount, amount.currency
    elif oldest is not None:
        total, currency = oldest.amount, oldest.currency
    else:  # not stated anywhere: an even share of the purchase
        total, currency = row.amount // (row.installments or 1), row.currency

    def reference(kind: str, stored: Iterable[str | None]) -> str | None:
        return projection.reference(payment, kind) or _first(stored)

    return PaymentValues(
        purchase_id=row.id,
        student_id=row.student_id,
        item_slug=row.program_slug,
        item_name=row.program_name,
        item_kind=row.item_kind,
        owner_id=row.owner_id,
        payer=row.payer,
        amount=total,
        currency=currency,
        tax=payment.tax.amount if payment.tax else 0,
        refunded=min(payment.refunded, total),
        status=projection.status(payment),
        method=projection.method(payment) or _first(each.method for each in records),
        method_details=_details(payment) or _first(each.method_details for each in records),
        refs=sorted(payment.refs.union(*(each.refs for each in records))),
        installment=reference("installment", (each.installment for each in records)),
        stripe_payment_intent_id=reference("payment_intent", (each.stripe_payment_intent_id for each in records)),
        stripe_charge_id=reference("charge", (each.stripe_charge_id for each in records)),
        stripe_invoice_id=reference("invoice", (each.stripe_invoice_id for each in records)),
        manual_id=reference("manual", (each.manual_id for each in records)),
        disputed=payment.disputed,
        failure_code=projection.failure_code(payment, events),
        paid_at=projection.paid_at(payment, events),
    )


def _details(payment: Payment) -> dict[str, Any] | None:  # Any: JSON
    details = projection.details(payment)
    return None if details is None else details.model_dump(mode="json", exclude_none=True)


def _first(values: Iterable[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)


async def _update_refunds(uow: UnitOfWork, payment: PaymentRecord, refunds: Sequence[ReportedRefund]) -> None:
    # of the whole purchase: no event may have linked the refund's charge yet to the invoice that we refunded
    stored = await repository.related_refunds(uow.db, payment.purchase_id, payment.id)
    by_id = {each.stripe_refund_id or str(each.id): each for each in stored}
    # an unmatched refund may be one of ours whose answer from Stripe is still due: that answer will name it
    answers_due = any(each.status == "pending" and each.stripe_refund_id is None for each in stored)
    for refund in refunds:
        if (record := by_id.get(refund.id)) is not None:
            changes: repository.RefundChanges = {
                "status": final_status(record.status, refund.status),
                "reported": record.reported or record.payment_id == payment.id,
            }
            if record.origin == "stripe":  # an earlier event of it may arrive later
                changes["created_at"] = refund.at
            await repository.write_refund(uow.db, record, at=uow.now, **changes)
            if changes["status"] != record.status:
                await publish_failed(uow, record, status=changes["status"], code=record.failure)
        elif not answers_due:
            added = await repository.add_refund(
                uow.db,
                at=uow.now,
                payment_id=payment.id,
                purchase_id=payment.purchase_id,
                student_id=payment.student_id,
                amount=refund.amount.amount,
                currency=refund.amount.currency,
                reason="Refunded in Stripe",
                origin="stripe",
                requested_by="stripe",
                status=refund.status,
                stripe_refund_id=refund.id,
                reported=True,
                created_at=refund.at,
            )
            await publish_failed(uow, added, status=added.status, code=None)
