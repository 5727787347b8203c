"""Payments, refunds and disputes follow what is known of their purchase's money."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.payments import projection, repository
from checkout.payments.domain import outranked
from checkout.payments.projection import RefundTold, Said
from checkout.purchases.repository import lock_purchase
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent
from kit.db.unit_of_work import UnitOfWork
from ledger.facts import fold
from ledger.payment import Payment
from ledger.purchase import Purchase

PaymentsMerged = Callable[[AsyncConnection, UUID, UUID], Awaitable[None]]
"""Called with (db, kept, other) before the row `other` is deleted: whoever refers to it refers to `kept` from then on."""


async def follow(
    uow: UnitOfWork,
    row: Row[Any],
    purchase: Purchase,
    heard: Envelope[PaymentEvent],
    *,
    on_merged: PaymentsMerged,
) -> None:
    """Makes the rows say what the facts say, in whatever order these came.

    `row` is the purchase's, locked by this transaction: so nobody else is writing its payments after the facts.
    """
    await _follow(uow, row, purchase, await repository.said_of(uow.db, row.id), on_merged)


async def follow_again(uow: UnitOfWork, purchase_id: UUID, *, on_merged: PaymentsMerged) -> None:
    """Locks the purchase and its payments. For whoever has learned something that the facts do not know: which of the
    refunds at Stripe is ours."""
    row = await lock_purchase(uow.db, purchase_id)
    if row is None:
        return
    said = await repository.said_of(uow.db, purchase_id)
    for purchase in fold({each.id: each.event for each in said}):
        if purchase.id == purchase_id:
            await _follow(uow, row, purchase, said, on_merged)


async def _follow(
    uow: UnitOfWork, row: Row[Any], purchase: Purchase, said: Sequence[Said], on_merged: PaymentsMerged
) -> None:
    if not purchase.payments:
        return
    refs = frozenset().union(*(payment.refs for payment in purchase.payments))
    known = await repository.lock_payments(uow.db, row.id, refs)
    for payment, rows in _matched(purchase.payments, known):
        payment_id = await _one_row(uow, row, payment, rows, said, on_merged)
        of_payment = {"payment_id": payment_id, "purchase_id": row.id, "student_id": row.student_id}
        if refunds := projection.refunds(payment, said):
            await _follow_refunds(uow, of_payment, refunds)
        for dispute_id, values in projection.disputes(payment, said).items():
            await repository.write_dispute(uow.db, dispute_id, {**of_payment, **values}, at=uow.now)


def _matched(payments: Sequence[Payment], rows: Sequence[Row[Any]]) -> list[tuple[Payment, list[Row[Any]]]]:
    """Each payment with its rows. A row knows references that belong together before any event has said so."""
    apart = list(payments)
    for row in rows:
        same = [payment for payment in apart if payment.refs & set(row.refs)]
        if len(same) > 1:
            one = Payment(tuple(fact for payment in same for fact in payment.facts))
            apart = [one, *(payment for payment in apart if payment not in same)]
    return [(payment, [row for row in rows if payment.refs & set(row.refs)]) for payment in apart]


async def _one_row(
    uow: UnitOfWork,
    row: Row[Any],
    payment: Payment,
    rows: Sequence[Row[Any]],
    said: Sequence[Said],
    on_merged: PaymentsMerged,
) -> UUID:
    """Writes the payment's row; the oldest one, where there were several."""
    kept = rows[0] if rows else None
    for other in rows[1:]:
        await on_merged(uow.db, rows[0].id, other.id)
        await repository.join_payments(uow.db, rows[0].id, other.id, at=uow.now)
    values = _values(row, payment, rows, said)
    if kept is None:
        kept = await repository.add_payment(uow.db, {**values, "created_at": uow.now, "updated_at": uow.now})
    else:
        await repository.write_payment(uow.db, kept, values, at=uow.now)
    return cast(UUID, kept.id)


def _values(row: Row[Any], payment: Payment, rows: Sequence[Row[Any]], said: Sequence[Said]) -> dict[str, Any]:
    """From the facts; what they leave open stays as it was written when the payment was asked for."""

    def known(name: str) -> Any:
        return next((value for each in rows if (value := getattr(each, name)) is not None), None)

    amount = projection.amount(payment)
    total = amount.amount if amount else known("amount")
    if total is None:  # nobody has said: what each payment of this purchase is of
        total = row.amount // (row.installments or 1)
    return {
        "purchase_id": row.id,
        "student_id": row.student_id,
        "item_slug": row.program_slug,
        "item_name": row.program_name,
        "item_kind": row.item_kind,
        "owner_id": row.owner_id,
        "payer": row.payer,
        "amount": total,
        "currency": amount.currency if amount else known("currency") or row.currency,
        "tax": payment.tax.amount if payment.tax else 0,
        "refunded": min(payment.refunded, total),
        "status": projection.status(payment),
        "method": payment.method or known("method"),
        "refs": sorted(payment.refs.union(*(each.refs for each in rows))),
        "installment": projection.reference(payment, "installment") or known("installment"),
        "stripe_payment_intent_id": projection.reference(payment, "payment_intent")
        or known("stripe_payment_intent_id"),
        "stripe_charge_id": projection.reference(payment, "charge") or known("stripe_charge_id"),
        "stripe_invoice_id": projection.reference(payment, "invoice") or known("stripe_invoice_id"),
        "manual_id": projection.reference(payment, "manual") or known("manual_id"),
        "disputed": payment.disputed,
        "failure_code": projection.failure_code(payment, said),
        "paid_at": projection.paid_at(payment, said),
    }


async def _follow_refunds(uow: UnitOfWork, of_payment: dict[str, Any], refunds: Sequence[RefundTold]) -> None:
    # of the whole purchase: nobody may have said yet that the refund's charge is the invoice that we have given back
    rows = await repository.refunds_of_all(uow.db, of_payment["purchase_id"], of_payment["payment_id"])
    known = {row.stripe_refund_id or str(row.id): row for row in rows}
    # one of ours that Stripe has not answered yet may be any of those that we do not know: its answer will tell
    answers_due = any(row.status == "pending" and row.stripe_refund_id is None for row in rows)
    for refund in refunds:
        if (row := known.get(refund.id)) is not None:
            told_of = row.projection or row.payment_id == of_payment["payment_id"]
            heard = {"status": outranked(row.status, refund.status), "told": told_of}
            if row.origin == "stripe":  # an earlier word of it may come later
                heard["created_at"] = refund.at
            await repository.write_refund(uow.db, row, heard, at=uow.now)
        elif not answers_due:
            values = {
                **of_payment,
                "amount": refund.amount.amount,
                "currency": refund.amount.currency,
                "reason": "made at Stripe",
                "origin": "stripe",
                "requested_by": "stripe",
                "status": refund.status,
                "stripe_refund_id": refund.id,
                "told": True,
                "created_at": refund.at,
                "updated_at": uow.now,
            }
            await repository.add_refund(uow.db, values)
