"""What is compared: memberships with the latest event of their subscription.

What only Stripe says (the price, the interval, when a pause ends) is read there when a row was added again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from uuid import UUID, uuid4

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.memberships import domain, repository
from checkout.memberships.domain import MembershipState
from checkout.memberships.event_handlers import SYNC, store
from checkout.memberships.repository import Membership
from checkout.memberships.tables import memberships
from checkout.payments.repository import records_of
from checkout.purchases.repository import PurchaseRow, lock_purchase, read_rows
from checkout.schema import one_of
from contracts.payments import SubscriptionChanged
from kit.db.unit_of_work import UnitOfWork
from kit.messaging import fact_store
from kit.messaging.event_facts import StoredEvent, events_of
from kit.messaging.projection_verification import FIRST, GROUPS, ROWS
from kit.messaging.verification import Difference
from ledger.facts import fold

NO_SUBSCRIPTION = "no event names its subscription"
_difference = partial(Difference.of_row, memberships.name)


@dataclass(frozen=True, kw_only=True)
class _Subscription:
    """The latest state that events report of a membership. `stored` None: it has no row."""

    row: PurchaseRow
    latest: SubscriptionChanged
    id: str
    stored: Membership | None


class MembershipComparison:
    """The unit of a repair is a membership, which has the id of its purchase."""

    name = memberships.name

    async def differences(self, db: AsyncConnection) -> AsyncIterator[Sequence[Difference]]:
        after, named = FIRST, set[UUID]()
        while groups := await fact_store.groups_after(db, after, limit=GROUPS):
            after = max(groups)
            found = await _subscriptions(db, [events_of(facts) for facts in groups.values()])
            named.update(each.row.id for each in found)
            yield [difference for each in found for difference in _differences(each)]
        after = FIRST
        rows = select(memberships.c.id, memberships.c.status).order_by(memberships.c.id).limit(ROWS)
        while page := (await db.execute(rows.where(memberships.c.id > after))).all():
            after = page[-1].id
            unnamed = (each for each in page if each.id not in named)
            yield [_difference(each.id, None, each.status, None, NO_SUBSCRIPTION) for each in unnamed]

    async def differences_of(self, db: AsyncConnection, unit: str) -> Sequence[Difference]:
        facts = await fact_store.group_of(db, f"purchase:{unit}")
        found = await _subscriptions(db, [events_of(facts)])
        if not any(str(each.row.id) == unit for each in found):
            stored = await repository.read(db, UUID(unit))
            return [_difference(stored.id, None, stored.state.status, None, NO_SUBSCRIPTION)] if stored else []
        return [difference for each in found if str(each.row.id) == unit for difference in _differences(each)]

    async def repair(self, uow: UnitOfWork, differences: Sequence[Difference]) -> None:
        id = UUID(differences[0].unit)
        await lock_purchase(uow.db, id)
        facts = await fact_store.group_of(uow.db, f"purchase:{id}")
        for each in await _subscriptions(uow.db, [events_of(facts)]):
            if each.row.id != id:
                continue
            if each.stored is None:
                await store(uow, each.row, each.latest, each.id)
                await uow.enqueue(SYNC, key=f"{uuid4()}/sync", payload={"purchase_id": str(id)})
                continue
            owner = {"student_id": each.row.student_id, "stripe_subscription_id": each.id}
            await uow.db.execute(update(memberships).where(memberships.c.id == id).values(owner))
            state, as_of = domain.state_of(each.latest, tier=each.stored.state.tier), domain.time_of(each.latest)
            await repository.write_state(uow.db, id, state, as_of=max(as_of, each.stored.as_of), at=uow.now)


async def _subscriptions(db: AsyncConnection, groups: Sequence[Sequence[StoredEvent]]) -> Sequence[_Subscription]:
    latest = await asyncio.to_thread(_latest, groups)
    rows = [row for row in await read_rows(db, latest) if row.payment_flow == "membership"]
    found = await db.execute(select(memberships).where(one_of(memberships.c.id, [row.id for row in rows])))
    stored = {row.id: repository.membership_of(row) for row in found}
    return [
        _Subscription(row=row, latest=latest[row.id], id=id, stored=stored.get(row.id))
        for row in rows
        if (id := latest[row.id].refs.subscription) is not None
    ]


def _latest(groups: Sequence[Sequence[StoredEvent]]) -> dict[UUID, SubscriptionChanged]:
    events = (records_of(group) for group in groups)
    purchases = (purchase for group in events for purchase in fold({each.id: each.event for each in group}))
    return {each.id: each.subscription for each in purchases if each.id and each.subscription}


def _differences(each: _Subscription) -> Iterator[Difference]:
    id, stored = each.row.id, each.stored
    if stored is None:
        yield _difference(id, None, None, asdict(domain.state_of(each.latest, tier=each.row.tier or "")))
        return
    for name, old, new in (
        ("student_id", stored.student_id, each.row.student_id),
        ("stripe_subscription_id", stored.stripe_subscription_id, each.id),
    ):
        if old != new:
            yield _difference(id, name, old, new)
    if stored.as_of > domain.time_of(each.latest):
        return  # read at Stripe, and its event is on its way
    expected = domain.state_of(each.latest, tier=stored.state.tier)
    for field in fields(MembershipState):
        old, new = getattr(stored.state, field.name), getattr(expected, field.name)
        if old != new:
            yield _difference(id, field.name, old, new)
