"""Keeps the rows of payments, refunds and disputes up to date with payment events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.payments import projection, repository
from checkout.payments.domain import PaymentRecord, PaymentValues, final_status
from checkout.payments.projection import EventIndex, EventRecord, ReportedRefund
from checkout.payments.refund_failures import publish_failed
from checkout.purchases.recorder import FACT_RULES
from checkout.purchases.repository import PurchaseRow, lock_purchase
from checkout.purchases.update import PurchaseUpdate
from kit.db.unit_of_work import UnitOfWork
from ledger.facts import fold
from ledger.payment import Payment
from ledger.purchase import Purchase

T = TypeVar("T")
PaymentsMerged = Callable[[AsyncConnection, UUID, UUID], Awaitable[None]]
"""Called with (db, kept, other) before the row `other` is deleted; moves what refers to `other` to `kept`."""


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A purchase with all its events, and the transaction in which its rows are brought up to date."""

    uow: UnitOfWork
    row: PurchaseRow
    purchase: Purchase
    events: Sequence[EventRecord]

    @cached_property
    def index(self) -> EventIndex:
        return EventIndex(self.events)

    @cached_property
    def refs(self) -> frozenset[str]:
        return frozenset().union(*(payment.refs for payment in self.purchase.payments))


@dataclass
class _Written:
    """The rows of the payments of several purchases; those of `reported` may have refunds and disputes."""

    added: list[PaymentRecord] = field(default_factory=list)
    changed: list[PaymentRecord] = field(default_factory=list)
    reported: list[tuple[_Source, Payment, PaymentRecord, Sequence[EventRecord]]] = field(default_factory=list)


async def update_payments(updates: Sequence[PurchaseUpdate], *, on_merged: PaymentsMerged) -> None:
    """Brings the purchases' payments, refunds and disputes in line with all events of them, in any order.

    Their rows are locked by this transaction, so no one else is updating their payments.
    """
    sources = []
    for each in updates:
        group = await each.uow.merge(each.events[0], FACT_RULES)
        events = repository.records_of(group.events)
        sources.append(_Source(uow=each.uow, row=each.row, purchase=each.purchase, events=events))
    await _update(sources, on_merged)


async def refresh_payments(uow: UnitOfWork, purchase_id: UUID, *, on_merged: PaymentsMerged) -> None:
    """Does the same without a new event, when a refund at Stripe has turned out to be one of ours. Locks the purchase
    and its payments."""
    row = await lock_purchase(uow.db, purchase_id)
    if row is None:
        return
    events = await repository.events_of_purchase(uow.db, purchase_id)
    for purchase in fold({each.id: each.event for each in events}):
        if purchase.id == purchase_id:
            await _update([_Source(uow=uow, row=row, purchase=purchase, events=events)], on_merged)


async def _update(sources: Sequence[_Source], on_merged: PaymentsMerged) -> None:
    sources = [each for each in sources if each.purchase.payments]
    if not sources:
        return
    db = sources[0].uow.db
    refs = frozenset().union(*(each.refs for each in sources))
    stored = await repository.lock_payments(db, [each.row.id for each in sources], refs)
    records = [[r for r in stored if r.purchase_id == each.row.id or each.refs & set(r.refs)] for each in sources]
    if sum(map(len, records)) > len(stored):  # a row belongs to two of them: the second one takes what the first wrote
        for each in sources:
            await _update([each], on_merged)
        return
    written = _Written()
    for source, own in zip(sources, records, strict=True):
        await _update_records(source, own, written, on_merged)
    await repository.write_payments(db, written.changed)
    await repository.add_payments(db, written.added)
    for source, payment, record, events in written.reported:
        if refunds := projection.refunds(events):
            await _update_refunds(source.uow, record, refunds)
        for dispute_id, values in projection.disputes(payment, events).items():
            await repository.write_dispute(db, dispute_id, record, values, at=source.uow.now)


async def _update_records(
    source: _Source, stored: Sequence[PaymentRecord], written: _Written, on_merged: PaymentsMerged
) -> None:
    """If a payment has several rows, the oldest one is kept."""
    uow = source.uow
    for payment, records in matched(source.purchase.payments, stored):
        for duplicate in records[1:]:
            await on_merged(uow.db, records[0].id, duplicate.id)
            await repository.merge_payments(uow.db, records[0].id, duplicate.id, at=uow.now)
        events = source.index.of(payment)
        values = values_of(source.row, payment, records, events)
        if not records:
            new: dict[str, Any] = {"id": uuid4(), "late": False, "created_at": uow.now, "updated_at": uow.now}
            record = PaymentRecord(**asdict(values), **new)
            written.added.append(record)
        elif (record := records[0]).has(values):
            pass
        else:
            record = replace(record, **asdict(values), updated_at=uow.now)
            written.changed.append(record)
        written.reported.append((source, payment, record, events))


def matched(payments: Sequence[Payment], stored: Sequence[PaymentRecord]) -> list[tuple[Payment, list[PaymentRecord]]]:
    """Each payment with its rows. A row can link references before any event does."""
    separate = list(payments)
    for record in stored:
        same = [payment for payment in separate if payment.refs & set(record.refs)]
        if len(same) > 1:
            one = Payment(tuple(fact for payment in same for fact in payment.facts))
            separate = [one, *(payment for payment in separate if payment not in same)]
    return [(payment, [record for record in stored if payment.refs & set(record.refs)]) for payment in separate]


def values_of(
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
        payer=payment.payer_of(row.payer),
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
