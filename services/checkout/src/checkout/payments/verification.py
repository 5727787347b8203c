"""What is compared: the rows of payments, refunds, disputes and purchases with payment events."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.payments import event_handlers, projection, repository
from checkout.payments.domain import DisputeValues, PaymentRecord, PaymentValues, RefundRecord, final_status
from checkout.payments.event_handlers import PaymentsMerged
from checkout.payments.projection import EventIndex, EventRecord
from checkout.payments.tables import disputes, payments, refunds
from checkout.purchases import domain as purchases_domain
from checkout.purchases import event_handlers as purchase_handlers
from checkout.purchases import external_purchase, restoration, unmatched_repository
from checkout.purchases import repository as purchases_repository
from checkout.purchases.domain import State
from checkout.purchases.repository import PurchaseRow
from checkout.purchases.tables import purchases
from checkout.schema import one_of, row_as
from kit.db.unit_of_work import UnitOfWork
from kit.messaging import fact_store
from kit.messaging.event_facts import StoredEvent, events_of
from kit.messaging.projection_verification import FIRST, GROUPS, ROWS
from kit.messaging.verification import Difference
from ledger.facts import fold
from ledger.policy import Policy
from ledger.purchase import Purchase

ACTOR = "verify"
NO_FACTS = "no event says that it was paid"
_FOLLOWING = ("state", "state_reason", "shortfall", "accepted", "subscription_status", "next_charge_at", "amount")
"""The columns of a purchase that follow from payment events alone."""
_PAID = (State.PAID, State.PROCESSING)


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """By purchase."""

    rows: Mapping[UUID, PurchaseRow]
    payments: Mapping[UUID, Sequence[PaymentRecord]]
    refunds: Mapping[UUID, Sequence[RefundRecord]]
    disputes: Mapping[str, Any]
    unmatched: frozenset[UUID]


@dataclass(frozen=True, kw_only=True)
class PaymentComparison:
    """The unit of a repair is a purchase. Nothing is charged, returned, ended or issued because of it."""

    policy: Policy
    on_merged: PaymentsMerged
    name: str = payments.name

    async def differences(self, db: AsyncConnection) -> AsyncIterator[Sequence[Difference]]:
        after, named = FIRST, set[UUID]()
        while groups := await fact_store.groups_after(db, after, limit=GROUPS):
            after = max(groups)
            yield await self._of_groups(db, [events_of(facts) for facts in groups.values()], named)
        after = FIRST
        while rows := await _after(db, payments, after):
            after = rows[-1].id
            unpaid = (each for each in rows if each.status == "succeeded" and each.purchase_id not in named)
            yield [_unnamed("payments", each.id, each.purchase_id, each.status) for each in unpaid]
        after = FIRST
        while rows := await _after(db, purchases, after):
            after = rows[-1].id
            unpaid = (each for each in rows if State(each.state) in _PAID and each.id not in named)
            yield [_unnamed("purchases", each.id, each.id, each.state) for each in unpaid]

    async def differences_of(self, db: AsyncConnection, unit: str) -> Sequence[Difference]:
        facts = await fact_store.group_of(db, f"purchase:{unit}")
        found = await self._of_groups(db, [events_of(facts)], set())
        return [each for each in found if each.unit == unit]

    async def repair(self, uow: UnitOfWork, differences: Sequence[Difference]) -> None:
        purchase_id = UUID(differences[0].unit)
        await purchases_repository.set_actor(uow.db, ACTOR)
        if await purchases_repository.lock_purchase(uow.db, purchase_id) is None:
            group = await repository.events_of_purchase(uow.db, purchase_id)
            for purchase in fold({each.id: each.event for each in group}):
                if purchase.id == purchase_id:
                    await restoration.restore(uow, purchase)
        for each in differences:
            if (each.table, each.column) == (refunds.name, "amount"):
                refund = update(refunds).where(refunds.c.id == UUID(each.row))
                await uow.db.execute(refund.values(amount=each.expected, updated_at=uow.now))
            if (each.table, each.column) == (purchases.name, "amount"):
                bought = update(purchases).where(purchases.c.id == purchase_id)
                await uow.db.execute(bought.values(amount=each.expected, updated_at=uow.now))
        await event_handlers.refresh_payments(uow, purchase_id, on_merged=self.on_merged)
        await self._link_refunds(uow, purchase_id)
        events = await repository.events_of_purchase(uow.db, purchase_id)
        row = await purchases_repository.lock_purchase(uow.db, purchase_id)
        for purchase in fold({each.id: each.event for each in events}):
            if purchase.id == purchase_id and row is not None:
                expected = expected_row(row, purchase, self.policy)
                if expected != row:
                    await purchases_repository.write_standings(uow.db, [expected], at=uow.now)

    async def _link_refunds(self, uow: UnitOfWork, purchase_id: UUID) -> None:
        """Of a payment that was deleted, and has a new id."""
        records = await repository.payments_of(uow.db, purchase_id)
        kept = {each.id for each in records}
        index = EventIndex(await repository.events_of_purchase(uow.db, purchase_id))
        for refund in await repository.refunds_of_purchase(uow.db, purchase_id):
            if refund.payment_id in kept:
                continue
            for each in records:
                own = index.of_refs(each.refs)
                if refund.stripe_refund_id in {reported.id for reported in projection.refunds(own)}:
                    linked = update(refunds).where(refunds.c.id == refund.id)
                    await uow.db.execute(linked.values(payment_id=each.id, updated_at=uow.now))

    async def _of_groups(
        self, db: AsyncConnection, groups: Sequence[Sequence[StoredEvent]], named: set[UUID]
    ) -> Sequence[Difference]:
        folded = await asyncio.to_thread(_folded, groups)
        ids = {purchase.id for purchases, _ in folded for purchase in purchases if purchase.id is not None}
        named.update(ids)
        stored = await _read(db, ids)
        found: list[Difference] = []
        for of_group, events in folded:
            for purchase in of_group:
                row = stored.rows.get(purchase.id) if purchase.id is not None else None
                if row is not None:
                    found += self._of_purchase(row, purchase, events, stored)
                elif purchase.id is not None and purchase.id not in stored.unmatched:
                    found += _without_row(purchase.id, purchase)
        return found

    def _of_purchase(
        self, row: PurchaseRow, purchase: Purchase, events: Sequence[EventRecord], stored: _Stored
    ) -> Iterator[Difference]:
        unit, index = str(row.id), EventIndex(events)
        own = stored.payments.get(row.id, ())
        refunds_of = {each.stripe_refund_id or str(each.id): each for each in stored.refunds.get(row.id, ())}
        known = set[UUID]()
        for payment, records in event_handlers.matched(purchase.payments, own):
            of_payment = index.of(payment)
            known.update(each.id for each in records)
            values = event_handlers.values_of(row, payment, records, of_payment)
            if not records:
                missing = asdict(values)
                yield _difference(payments.name, min(payment.refs), None, None, missing, unit)
            for each in records[1:]:
                yield _difference(payments.name, str(each.id), None, asdict(each), None, unit)
            for each in records[:1]:
                yield from _columns(payments.name, str(each.id), each, values, unit)
            for dispute_id, expected in projection.disputes(payment, of_payment).items():
                yield from _of_dispute(dispute_id, expected, stored.disputes.get(dispute_id), unit)
            for refund in projection.refunds(of_payment):
                record = refunds_of.get(refund.id)
                if record is None:
                    if not any(each.stripe_refund_id is None for each in refunds_of.values()):
                        yield _difference(refunds.name, refund.id, None, None, asdict(refund), unit)
                    continue
                status = final_status(record.status, refund.status)
                for name, old, new in (
                    ("status", record.status, status),
                    ("amount", record.amount, refund.amount.amount),
                ):
                    if old != new:
                        yield _difference(refunds.name, str(record.id), name, old, new, unit)
        for each in own:
            if each.id not in known and each.status == "succeeded":
                yield replace(_unnamed(payments.name, each.id, row.id, each.status), unit=unit)
        yield from self._of_row(row, purchase, unit)

    def _of_row(self, row: PurchaseRow, purchase: Purchase, unit: str) -> Iterator[Difference]:
        expected = expected_row(row, purchase, self.policy)
        for name in _FOLLOWING:
            old, new = getattr(row, name), getattr(expected, name)
            if old != new:
                yield _difference(purchases.name, unit, name, old, new, unit)
        if row.state in _PAID and not purchase.settled_payments and not purchase.payments:
            yield _unnamed(purchases.name, row.id, row.id, row.state)


def expected_row(row: PurchaseRow, purchase: Purchase, policy: Policy) -> PurchaseRow:
    """With the columns that follow from payment events alone."""
    change = purchases_domain.change_of(purchase, policy, payment_flow=row.payment_flow)
    after = purchases_domain.next_state(row.state, change) if change is not None else None
    standing = purchase_handlers.standing(row, purchase, policy)
    return replace(row, state=after or row.state, amount=_amount(row, purchase), **standing)


def _amount(row: PurchaseRow, purchase: Purchase) -> int:
    """Minor units. Of an external purchase, and where events contradict one another, what is stored."""
    prices = {fact.price for fact in purchase.facts if fact.price is not None}
    if row.payment_flow not in ("page", "intent", "installments") or len(prices) != 1:
        return row.amount
    return prices.pop().amount


def _folded(groups: Sequence[Sequence[StoredEvent]]) -> list[tuple[Sequence[Purchase], Sequence[EventRecord]]]:
    found: list[tuple[Sequence[Purchase], Sequence[EventRecord]]] = []
    for events in groups:
        records = repository.records_of(events)
        found.append((fold({each.id: each.event for each in records}), records))
    return found


async def _read(db: AsyncConnection, ids: Collection[UUID]) -> _Stored:
    rows = await purchases_repository.read_rows(db, ids)
    by_purchase: dict[UUID, list[PaymentRecord]] = defaultdict(list)
    for each in sorted(await repository.payments_of(db, *ids), key=lambda each: (each.created_at, each.id)):
        by_purchase[each.purchase_id].append(each)
    of_refunds: dict[UUID, list[RefundRecord]] = defaultdict(list)
    for row in await db.execute(select(refunds).where(one_of(refunds.c.purchase_id, ids))):
        of_refunds[row.purchase_id].append(row_as(RefundRecord, row))
    found = await db.execute(select(disputes).where(one_of(disputes.c.purchase_id, ids)))
    return _Stored(
        rows={row.id: row for row in rows},
        payments=by_purchase,
        refunds=of_refunds,
        disputes={row.stripe_dispute_id: row for row in found},
        unmatched=await unmatched_repository.purchase_ids(db, ids),
    )


def _without_row(id: UUID, purchase: Purchase) -> Iterator[Difference]:
    """What was received for a purchase has a row of it, unless it is listed as unmatched."""
    if not external_purchase.is_received(purchase) or purchase.is_unrecorded:
        return
    expected = restoration.description(purchase)
    reason = None if expected is not None else restoration.NOT_NAMED
    yield replace(_difference(purchases.name, str(id), None, None, expected or "a purchase", str(id)), reason=reason)


# Any: SQLAlchemy has no type for the rows of a whole table
async def _after(db: AsyncConnection, table: Any, after: UUID) -> Sequence[Any]:
    found = await db.execute(select(table).where(table.c.id > after).order_by(table.c.id).limit(ROWS))
    return found.all()


def _columns(table: str, id: str, stored: PaymentRecord, expected: PaymentValues, unit: str) -> Iterator[Difference]:
    for each in fields(expected):
        old, new = getattr(stored, each.name), getattr(expected, each.name)
        if old != new:
            yield _difference(table, id, each.name, old, new, unit)


def _of_dispute(id: str, expected: DisputeValues, stored: Any, unit: str) -> Iterator[Difference]:
    if stored is None:
        yield _difference(disputes.name, id, None, None, asdict(expected), unit)
        return
    for each in fields(expected):
        old, new = getattr(stored, each.name), getattr(expected, each.name)
        if old != new and each.name != "created_at":
            yield _difference(disputes.name, id, each.name, old, new, unit)


def _unnamed(table: str, id: UUID, purchase_id: UUID, status: str) -> Difference:
    return replace(_difference(table, str(id), "status", status, None, str(purchase_id)), reason=NO_FACTS)


def _difference(table: str, row: str, column: str | None, stored: Any, expected: Any, unit: str) -> Difference:
    return Difference(table=table, row=row, column=column, stored=stored, expected=expected, unit=unit)
