"""Updates a membership from its subscription's events, in any order.

Two events of the same second cannot be ordered by their time, so after each event of Stripe's the subscription itself
is read (the job MembershipSync).
"""

from __future__ import annotations

from collections.abc import Sequence

from checkout.memberships import domain, repository
from checkout.purchases.repository import PurchaseRow
from checkout.purchases.update import PurchaseUpdate
from checkout.topology import SERVICE
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent, SubscriptionChanged
from kit.db.unit_of_work import UnitOfWork
from ledger.purchase import Purchase

SYNC = "membership_sync"
CREDIT = "membership_credit"
"""The kind of job that takes back the credit of a membership whose money a dispute took."""


async def update_memberships(updates: Sequence[PurchaseUpdate]) -> None:
    for each in updates:
        await _update_membership(each.uow, each.row, each.purchase, each.events)


async def _update_membership(
    uow: UnitOfWork, row: PurchaseRow, purchase: Purchase, events: Sequence[Envelope[PaymentEvent]]
) -> None:
    latest = purchase.subscription
    if row.payment_flow != "membership" or latest is None or latest.refs.subscription is None:
        return
    await store(uow, row, latest, latest.refs.subscription)
    if row.state_reason == "dispute_lost":
        payload = {"purchase_id": str(row.id), "subscription_id": latest.refs.subscription}
        await uow.enqueue(CREDIT, key=str(row.id), payload=payload)
    changes = (each for each in events if isinstance(each.data, SubscriptionChanged) and each.source != SERVICE)
    about_this = [each for each in changes if each.data.refs.subscription in purchase.subscriptions]
    if about_this:
        await uow.enqueue(SYNC, key=f"{about_this[-1].id}/sync", payload={"purchase_id": str(row.id)})


async def store(uow: UnitOfWork, row: PurchaseRow, latest: SubscriptionChanged, subscription_id: str) -> None:
    stored = await repository.lock(uow.db, row.id)
    if stored is None:
        await repository.add(
            uow.db,
            row.id,
            domain.state_of(latest, tier=row.tier or ""),
            student_id=row.student_id,
            item_id=row.item_id,
            interval=row.interval,
            subscription_id=subscription_id,
            as_of=domain.time_of(latest),
            at=uow.now,
        )
        return
    after = domain.update(stored.state, stored.as_of, latest)
    if after is not None:
        state, as_of = after
        await repository.write_state(uow.db, row.id, state, as_of=as_of, at=uow.now)
