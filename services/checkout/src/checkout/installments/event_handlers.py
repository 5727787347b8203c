"""Keeps installments up to date with payment events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import structlog

from checkout.installments import domain, repository, transitions
from checkout.installments.clock import ahead
from checkout.installments.domain import (
    Become,
    Close,
    DebitFailed,
    Installment,
    InstallmentFacts,
    Keep,
    PlannedInstallment,
    Reopen,
)
from checkout.payments import refund_service
from checkout.payments import repository as payments
from checkout.payments.domain import NOT_MONEY
from checkout.purchases.domain import State
from checkout.purchases.repository import PurchaseRow
from contracts.envelope import Envelope
from contracts.money import Money
from contracts.payments import PaymentEvent, PaymentFailed, PaymentPending, PaymentSucceeded
from kit.db.unit_of_work import UnitOfWork
from kit.http.errors import Problem
from ledger.payment import Payment
from ledger.purchase import Purchase

log = structlog.get_logger(__name__)

_ENDED = (State.WITHDRAWN, State.CANCELED, State.FAILED, State.EXPIRED)
_STEPS = 3
"""One decision can lead to another: a reopened installment may have a payment that is processing."""


async def update_installments(
    uow: UnitOfWork, row: PurchaseRow, purchase: Purchase, event: Envelope[PaymentEvent]
) -> None:
    """Brings the purchase's installments in line with all events of it, in whatever order they came.

    `row` is the purchase's row, locked by this transaction.
    """
    installments = await repository.of_purchase(uow.db, row.id)
    if row.payment_flow == "page":
        installments = await _update_page_remainder(uow, row, purchase, installments)
    ended = row.canceled_at is not None or purchase.ended or row.state in _ENDED
    if installments:
        payments_of = {each.id: _payments_of(purchase, each.id) for each in installments}
        covered = any(_is_settled(payments_of[each.id]) for each in installments if each.is_remainder)
        now = uow.now + await ahead(uow.db)
        for installment in installments:
            facts = _facts(payments_of[installment.id], ended=ended, covered=covered and not installment.is_remainder)
            await _update_installment(uow, row, installment, facts, event, now=now)
        if purchase.settled_payments and not ended:
            for installment in await repository.of_purchase(uow.db, row.id):
                await transitions.collect_skipped(uow, installment, now=now)
    if purchase.ended or row.canceled_at is not None:
        await _refund_late_payments(uow, row, purchase)


async def _update_installment(
    uow: UnitOfWork,
    purchase: PurchaseRow,
    installment: Installment,
    facts: InstallmentFacts,
    event: Envelope[PaymentEvent],
    *,
    now: datetime,
) -> None:
    for _ in range(_STEPS):
        match domain.decide(installment, facts):
            case Keep():
                break
            case Become(status="processing"):
                installment = await repository.write(
                    uow.db, installment.id, at=uow.now, status="processing", next_attempt_at=None
                )
            case Become(status=status):
                if installment.status == "canceled":
                    log.warning("installment paid after it was closed", installment=str(installment.id))
                installment = await repository.write(
                    uow.db,
                    installment.id,
                    at=uow.now,
                    status=status,
                    closed_because=None,
                    next_attempt_at=None,
                    failure_code=None,
                )
            case Close(because=because):
                installment = await transitions.close(uow, purchase, installment, because=because)
            case Reopen():
                installment = await transitions.reopen(uow, purchase, installment, now=now)
            case DebitFailed(failed=failed):
                installment = await transitions.debit_failed(uow, purchase, installment, failed_debits=failed, now=now)
    if isinstance(event.data, PaymentSucceeded) and _names(event.data, installment.id):
        # by the clock that installments fall due by
        paid_at = event.time + (now - uow.now)
        first = min(installment.paid_at or paid_at, paid_at)
        await repository.write(uow.db, installment.id, at=uow.now, paid_at=first)


def _facts(payments: Sequence[Payment], *, ended: bool, covered: bool) -> InstallmentFacts:
    settled = [payment for payment in payments if payment.settled is not None]
    failed: set[tuple[str | None, str | None]] = set()
    for payment in payments:
        pending = {_attempt(fact) for fact in payment.facts if isinstance(fact, PaymentPending)}
        failed |= pending & {_attempt(fact) for fact in payment.facts if isinstance(fact, PaymentFailed)}
    return InstallmentFacts(
        settled=bool(settled),
        waived=bool(settled) and all(payment.method == "waiver" for payment in settled),
        processing=any(payment.processing for payment in payments),
        failed_debits=len(failed),
        ended=ended,
        covered=covered,
    )


def _attempt(fact: PaymentEvent) -> tuple[str | None, str | None]:
    return fact.refs.payment_intent, fact.refs.charge


def _payments_of(purchase: Purchase, installment_id: UUID) -> list[Payment]:
    return [each for each in purchase.payments if any(_names(fact, installment_id) for fact in each.facts)]


def _names(fact: PaymentEvent, installment_id: UUID) -> bool:
    return bool(fact.refs.installment and fact.refs.installment.startswith(f"{installment_id}:"))


def _is_settled(payments: Sequence[Payment]) -> bool:
    return any(payment.settled is not None for payment in payments)


async def _update_page_remainder(
    uow: UnitOfWork, row: PurchaseRow, purchase: Purchase, installments: list[Installment]
) -> list[Installment]:
    """Keeps the remainder of a plan on Stripe's page that ended early: what is left can be paid in one payment."""
    ended_early = purchase.standing()[1] == "plan_canceled"
    if not ended_early and not installments:
        return installments
    settled_here = sum(each.amount for each in installments if _is_settled(_payments_of(purchase, each.id)))
    left = row.amount - (_paid_of_price(purchase, row.currency) - settled_here)
    if not installments and ended_early and left > 0:
        amount = Money(amount=left, currency=row.currency)
        now = uow.now + await ahead(uow.db)
        remainder = PlannedInstallment(position=1, kind="remainder", amount=amount, due_at=now)
        return [await repository.add(uow.db, row.id, row.student_id, remainder, next_attempt_at=None, pay_url=None)]
    for each in installments:
        if each.is_payable and each.amount != left:
            if left <= 0:
                await transitions.close(uow, row, each, because="covered")
                continue
            await transitions.enqueue_close(uow, each)
            await transitions.reopen(uow, row, each, now=uow.now)
            await repository.write(uow.db, each.id, at=uow.now, amount=left, next_attempt_at=None)
    return await repository.of_purchase(uow.db, row.id)


def _paid_of_price(purchase: Purchase, currency: str) -> int:
    """Minor units paid of the price. Tax is added to the price, so it pays none of it."""
    taxes = (payment.tax for payment in purchase.settled_payments)
    tax = sum(each.amount for each in taxes if each is not None and each.currency == currency)
    return purchase.paid.get(currency, 0) - tax


async def _refund_late_payments(uow: UnitOfWork, row: PurchaseRow, purchase: Purchase) -> None:
    """Refunds, in full, payments that arrived after the purchase was canceled."""
    cancellation = await repository.read_cancellation(uow.db, row.id)
    if cancellation is None:
        return
    counted = set(cancellation.counted)
    late = {ref for payment in purchase.settled_payments if not payment.refs & counted for ref in payment.refs}
    for payment in sorted(await payments.payments_of(uow.db, row.id), key=lambda each: str(each.id)):
        if payment.status != "succeeded" or not set(payment.refs) & late or payment.method in NOT_MONEY:
            continue
        try:
            await refund_service.refund(
                uow, payment.id, None, reason="The purchase was canceled.", origin="cancellation", by="system"
            )
        except Problem as problem:
            if problem.code not in ("nothing_to_refund", "nothing_was_paid"):
                log.error("late payment could not be refunded", payment=str(payment.id), code=problem.code)
