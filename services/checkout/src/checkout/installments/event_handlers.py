"""Amounts due follow what is known of their purchase's money."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row

from checkout.installments import domain, repository, transitions
from checkout.installments.clock import ahead
from checkout.installments.domain import Become, Close, DebitFailed, Due, Keep, Reopen, Told
from checkout.payments import refund_service
from checkout.payments.domain import NOT_MONEY
from checkout.purchases.domain import State
from contracts.envelope import Envelope
from contracts.money import Money
from contracts.payments import PaymentEvent, PaymentFailed, PaymentPending, PaymentSucceeded
from kit.db.unit_of_work import UnitOfWork
from kit.http.errors import Problem
from ledger.payment import Payment
from ledger.purchase import Purchase

log = structlog.get_logger(__name__)

_OVER = (State.WITHDRAWN, State.CANCELED, State.FAILED, State.EXPIRED)
_STEPS = 3
"""One decision may lead to another: what is reopened may be on its way already."""


async def follow(uow: UnitOfWork, row: Row[Any], purchase: Purchase, heard: Envelope[PaymentEvent]) -> None:
    """`row` is the purchase's, locked: what is due for it is ours to write."""
    rows = await repository.of_purchase(uow.db, row.id)
    if row.how == "page":
        rows = await _rest_of_page_plan(uow, row, purchase, rows)
    ended = row.canceled_at is not None or purchase.canceled or State(row.state) in _OVER
    if rows:
        paid_of = {each.id: _payments_of(purchase, each.id) for each in rows}
        covered = any(_settled(paid_of[each.id]) for each in rows if each.kind == "remainder")
        now = uow.now + await ahead(uow.db)
        for due in rows:
            told = _told(paid_of[due.id], ended=ended, covered=covered and due.kind != "remainder")
            await _follow_one(uow, row, due, told, heard, now=now)
        if purchase.settled_payments and not ended:
            for due in await repository.of_purchase(uow.db, row.id):
                await transitions.collect_passed_over(uow, due, now=now)
    if purchase.canceled or row.canceled_at is not None:
        await _send_back(uow, row, purchase)


async def _follow_one(
    uow: UnitOfWork, purchase: Row[Any], row: Row[Any], told: Told, heard: Envelope[PaymentEvent], *, now: datetime
) -> None:
    for _ in range(_STEPS):
        kept = domain.Row(status=row.status, closed_because=row.closed_because, failed_debits=row.failed_debits)
        match domain.follow(kept, told):
            case Keep():
                break
            case Become(status="processing"):
                await repository.write(uow.db, row.id, at=uow.now, status="processing", next_attempt_at=None)
            case Become(status=status):
                if row.status == "canceled":
                    log.warning("paid after it was closed", schedule=str(row.id))
                values = {"status": status, "closed_because": None, "next_attempt_at": None, "failure_code": None}
                await repository.write(uow.db, row.id, at=uow.now, **values)
            case Close(because=because):
                await transitions.close(uow, purchase, row, because=because)
            case Reopen():
                await transitions.reopen(uow, purchase, row, now=now)
            case DebitFailed(failed=failed):
                await transitions.debit_failed(uow, purchase, row, failed_debits=failed, now=now)
        row = await _again(uow, row)
    if isinstance(heard.data, PaymentSucceeded) and _names(heard.data, row.id):
        # by the clock that amounts fall due by
        paid_at = heard.time + (now - uow.now)
        await repository.write(uow.db, row.id, at=uow.now, paid_at=min(row.paid_at or paid_at, paid_at))


async def _again(uow: UnitOfWork, row: Row[Any]) -> Row[Any]:
    found = await repository.read(uow.db, row.id)
    assert found is not None  # noqa: S101  never deleted
    return found


def _told(payments: Sequence[Payment], *, ended: bool, covered: bool) -> Told:
    settled = [payment for payment in payments if payment.settled is not None]
    failed: set[tuple[str | None, str | None]] = set()
    for payment in payments:
        begun = {_attempt(fact) for fact in payment.facts if isinstance(fact, PaymentPending)}
        failed |= begun & {_attempt(fact) for fact in payment.facts if isinstance(fact, PaymentFailed)}
    return Told(
        settled=bool(settled),
        waived=bool(settled) and all(payment.method == "waiver" for payment in settled),
        under_way=any(payment.under_way for payment in payments),
        failed_debits=len(failed),
        ended=ended,
        covered=covered,
    )


def _attempt(fact: PaymentEvent) -> tuple[str | None, str | None]:
    return fact.refs.payment_intent, fact.refs.charge


def _payments_of(purchase: Purchase, id: UUID) -> list[Payment]:
    return [payment for payment in purchase.payments if any(_names(fact, id) for fact in payment.facts)]


def _names(fact: PaymentEvent, id: UUID) -> bool:
    return bool(fact.refs.installment and fact.refs.installment.startswith(f"{id}:"))


def _settled(payments: Sequence[Payment]) -> bool:
    return any(payment.settled is not None for payment in payments)


async def _rest_of_page_plan(
    uow: UnitOfWork, row: Row[Any], purchase: Purchase, rows: list[Row[Any]]
) -> list[Row[Any]]:
    """A plan on Stripe's page that was broken off leaves a rest, which can be paid in one sum."""
    broken_off = purchase.standing()[1] == "plan_canceled"
    if not broken_off and not rows:
        return rows
    settled_here = sum(each.amount for each in rows if _settled(_payments_of(purchase, each.id)))
    rest = row.amount - (_towards_price(purchase, row.currency) - settled_here)
    if not rows and broken_off and rest > 0:
        amount = Money(amount=rest, currency=row.currency)
        now = uow.now + await ahead(uow.db)
        due = Due(position=1, kind="remainder", amount=amount, due_at=now)
        await repository.insert_due(uow.db, row.id, row.student_id, due, next_attempt_at=None, page=None)
        return await repository.of_purchase(uow.db, row.id)
    for each in rows:
        if each.status in domain.PAYABLE and each.amount != rest:
            if rest <= 0:
                await transitions.close(uow, row, each, because="covered")
                continue
            await transitions.want_ended(uow, each)
            await transitions.reopen(uow, row, each, now=uow.now)
            await repository.write(uow.db, each.id, at=uow.now, amount=rest, next_attempt_at=None)
    return await repository.of_purchase(uow.db, row.id)


def _towards_price(purchase: Purchase, currency: str) -> int:
    """Minor units paid of the price: tax comes on top of it, and pays nothing of it."""
    named = (payment.tax for payment in purchase.settled_payments)
    tax = sum(each.amount for each in named if each is not None and each.currency == currency)
    return purchase.paid.get(currency, 0) - tax


async def _send_back(uow: UnitOfWork, row: Row[Any], purchase: Purchase) -> None:
    """Money that comes after a purchase was canceled goes back by itself, all of it."""
    canceled = await repository.read_cancellation(uow.db, row.id)
    if canceled is None:
        return
    counted = set(canceled.counted)
    late = {ref for payment in purchase.settled_payments if not payment.refs & counted for ref in payment.refs}
    for payment in sorted(await repository.payments_of(uow.db, row.id), key=lambda each: str(each.id)):
        if payment.status != "succeeded" or not set(payment.refs) & late or payment.method in NOT_MONEY:
            continue
        try:
            await refund_service.refund(
                uow, payment.id, None, reason="The purchase was canceled.", origin="cancellation", by="system"
            )
        except Problem as refused:
            if refused.code not in ("nothing_to_refund", "nothing_was_paid"):
                log.error("late payment stays", payment=str(payment.id), code=refused.code)
