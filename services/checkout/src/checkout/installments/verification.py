"""What is compared: installments with the plan of their purchase, and with payment events.

Nothing is collected because of it: an installment that is owed is only named, or added again as paused, until an admin
resumes it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.installments import domain, repository
from checkout.installments.clock import ahead
from checkout.installments.domain import FULL, Become, Close, Installment, InstallmentFacts, PlannedInstallment
from checkout.installments.event_handlers import facts_of, update_installment
from checkout.installments.repository import installment_id
from checkout.installments.tables import installments, manual_payments
from checkout.payments.repository import records_of
from checkout.payments.verification import ACTOR, NO_FACTS, expected_row
from checkout.purchases.repository import PurchaseRow, lock_purchase, read_rows, set_actor
from checkout.schema import one_of
from kit.db.unit_of_work import UnitOfWork
from kit.messaging import fact_store
from kit.messaging.event_facts import StoredEvent, events_of
from kit.messaging.projection_verification import FIRST, GROUPS
from kit.messaging.verification import Difference
from ledger.facts import fold
from ledger.policy import Policy
from ledger.purchase import Purchase

COLLECTED = "it would be collected because of it: left to an admin"
PAUSED = "added as paused: an admin resumes its collection"
NO_PLAN = "its plan is not stored: restore it from a backup"
_BY_PLAN = ("purchase_id", "student_id", "position", "kind", "amount", "currency")


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A purchase with its installments, as they are stored. `by_hand`: whether an admin has recorded money of it, whose
    event may be on its way."""

    row: PurchaseRow
    purchase: Purchase
    own: Sequence[Installment]
    by_hand: bool

    @property
    def unit(self) -> str:
        return str(self.row.id)

    @property
    def planned(self) -> Mapping[UUID, PlannedInstallment]:
        """By id. Empty for a purchase without installments, and for one whose plan is not stored."""
        request = self.row.request
        if self.row.payment_flow == "installments":
            plan = request.plan or (FULL if request.payment_type == "full" or request.payer == "sponsor" else None)
        else:
            plan = request.plan if self.row.payment_flow == "page" and request.due is not None else None
        is_unknown = self.row.co_pay is None and any(each.is_co_pay for each in self.own)
        if plan is None or is_unknown:
            return {}
        first = min(self.own, key=lambda each: each.position, default=None)
        start = first.due_at if first is not None and first.position == 1 else self.row.created_at
        try:
            if request.payer == "sponsor":
                planned = domain.sponsored_installments(request.amount, request.co_pay, start)
            else:
                planned = domain.plan_installments(plan, request.amount, start)
        except ValueError:  # neither of the two is what it was
            return {}
        return {installment_id(self.row.id, each.position): each for each in planned}

    @property
    def facts(self) -> Mapping[UUID, InstallmentFacts]:
        planned = self.planned
        amounts = {id: each.amount.amount for id, each in planned.items()}
        own = [replace(each, amount=amounts.get(each.id, each.amount)) for each in self.own]
        return facts_of(self.row, self.purchase, own)


@dataclass(frozen=True, kw_only=True)
class InstallmentComparison:
    """The unit of a repair is a purchase. `differences` follow from what its row should be, not from what it is."""

    policy: Policy
    name: str = installments.name

    async def differences(self, db: AsyncConnection) -> AsyncIterator[Sequence[Difference]]:
        after = FIRST
        while groups := await fact_store.groups_after(db, after, limit=GROUPS):
            after = max(groups)
            plans = await self._plans(db, [events_of(facts) for facts in groups.values()])
            yield [difference for plan in plans for difference in _differences(plan)]

    async def differences_of(self, db: AsyncConnection, unit: str) -> Sequence[Difference]:
        return [difference for plan in await self._plans_of(db, unit) for difference in _differences(plan)]

    async def repair(self, uow: UnitOfWork, differences: Sequence[Difference]) -> None:
        unit = differences[0].unit
        await set_actor(uow.db, ACTOR)
        await lock_purchase(uow.db, UUID(unit))
        for plan in await self._plans_of(uow.db, unit):
            await _repair_rows(uow, plan, differences)
        now = uow.now + await ahead(uow.db)
        for plan in await self._plans_of(uow.db, unit):
            facts = plan.facts
            for each in plan.own:
                if isinstance(domain.decide(each, facts[each.id]), (Become, Close)):
                    await update_installment(uow, plan.row, each, facts[each.id], (), now=now)

    async def _plans_of(self, db: AsyncConnection, unit: str) -> Sequence[_Plan]:
        facts = await fact_store.group_of(db, f"purchase:{unit}")
        return [plan for plan in await self._plans(db, [events_of(facts)]) if plan.unit == unit]

    async def _plans(self, db: AsyncConnection, groups: Sequence[Sequence[StoredEvent]]) -> Sequence[_Plan]:
        folded = await asyncio.to_thread(_folded, groups)
        rows = {row.id: row for row in await read_rows(db, folded) if row.payment_flow in ("page", "installments")}
        own = await repository.of_purchases(db, rows)
        by_hand = await _recorded_by_hand(db, rows)
        return [
            _Plan(
                row=expected_row(row, folded[id], self.policy),
                purchase=folded[id],
                own=own.get(id, ()),
                by_hand=id in by_hand,
            )
            for id, row in rows.items()
        ]


def _folded(groups: Sequence[Sequence[StoredEvent]]) -> dict[UUID, Purchase]:
    events = (records_of(group) for group in groups)
    purchases = (purchase for group in events for purchase in fold({each.id: each.event for each in group}))
    return {purchase.id: purchase for purchase in purchases if purchase.id is not None}


async def _recorded_by_hand(db: AsyncConnection, ids: Collection[UUID]) -> frozenset[UUID]:
    wanted = select(manual_payments.c.purchase_id).where(one_of(manual_payments.c.purchase_id, ids))
    return frozenset(await db.scalars(wanted))


def _differences(plan: _Plan) -> Iterator[Difference]:
    planned, stored = plan.planned, {each.id: each for each in plan.own}
    named = _paid_ids(plan.purchase)
    for id, wanted in planned.items():
        if id in stored:
            yield from _of_plan(plan, stored[id], wanted)
        else:
            reason = None if id in named else PAUSED
            yield _difference(plan, id, None, None, _values(plan, wanted), reason)
    for id in sorted(named - planned.keys() - stored.keys()):
        yield _difference(plan, id, None, None, "an installment that was paid", NO_PLAN)
    facts = plan.facts
    for each in plan.own:
        if each.id != installment_id(plan.row.id, each.position):
            yield _difference(plan, each.id, None, _stored(each), None, None)
        else:
            yield from _of_facts(plan, each, facts[each.id])


def _of_plan(plan: _Plan, stored: Installment, wanted: PlannedInstallment) -> Iterator[Difference]:
    expected = _values(plan, wanted)
    for name, old in _stored(stored).items():
        if old != expected[name]:
            yield _difference(plan, stored.id, name, old, expected[name], None)


def _of_facts(plan: _Plan, stored: Installment, facts: InstallmentFacts) -> Iterator[Difference]:
    match domain.decide(stored, facts):
        case Become(status=status):
            yield _difference(plan, stored.id, "status", stored.status, status, None)
        case Close():
            yield _difference(plan, stored.id, "status", stored.status, "canceled", None)
        case domain.Keep():
            yield from _unfounded(plan, stored, facts)
        case _:
            yield _difference(plan, stored.id, "status", stored.status, "owed", COLLECTED)


def _unfounded(plan: _Plan, stored: Installment, facts: InstallmentFacts) -> Iterator[Difference]:
    """No payment event says that it was paid, or why it is closed. An admin may have recorded money a moment ago."""
    if plan.by_hand or facts.end is not None or facts.covered:
        return
    if stored.status in ("paid", "waived") and not facts.settled and not facts.losses:
        yield _difference(plan, stored.id, "status", stored.status, "owed", NO_FACTS)
    stays_closed = stored.closed_because == "refunded" and facts.refund_failed  # the school wanted to end it
    if stored.status == "canceled" and not stored.is_remainder and not stays_closed:
        yield _difference(plan, stored.id, "status", stored.status, "owed", COLLECTED)


def _paid_ids(purchase: Purchase) -> frozenset[UUID]:
    """The installments that were paid, as their payments name them."""
    refs = (fact.refs.installment for payment in purchase.settled_payments for fact in payment.facts)
    return frozenset(UUID(ref.partition(":")[0]) for ref in refs if ref)


async def _repair_rows(uow: UnitOfWork, plan: _Plan, differences: Sequence[Difference]) -> None:
    planned, changed = plan.planned, defaultdict[UUID, dict[str, Any]](dict)  # Any: the values of columns
    for each in differences:
        id = UUID(each.row)
        if each.column is None and each.expected is None:
            await uow.db.execute(delete(installments).where(installments.c.id == id))
        elif each.column is None and id in planned:
            wanted, student = planned[id], plan.row.student_id
            await repository.add(uow.db, plan.row.id, student, wanted, next_attempt_at=None, pay_url=None)
            changed[id]["status"] = "paused"
        elif each.column in _BY_PLAN:
            changed[id][each.column] = each.expected
    for id, values in changed.items():
        await uow.db.execute(update(installments).where(installments.c.id == id).values(**values, updated_at=uow.now))


def _values(plan: _Plan, wanted: PlannedInstallment) -> dict[str, Any]:  # Any: the values of columns
    ids = {"purchase_id": plan.row.id, "student_id": plan.row.student_id, "position": wanted.position}
    return {**ids, "kind": wanted.kind, "amount": wanted.amount.amount, "currency": wanted.amount.currency}


def _stored(stored: Installment) -> dict[str, Any]:  # Any: the values of columns
    return {name: getattr(stored, name) for name in _BY_PLAN}


def _difference(
    plan: _Plan, id: UUID, column: str | None, stored: Any, expected: Any, reason: str | None
) -> Difference:
    return Difference(
        table=installments.name,
        row=str(id),
        column=column,
        stored=stored,
        expected=expected,
        unit=plan.unit,
        reason=reason,
    )
