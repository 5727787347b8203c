"""The life of a membership, with its events in any order: the row ends as Stripe has it, and so does the standing."""

from __future__ import annotations

import random
from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest
from tests.checkout.membership_steps import DAY, HOUR, SAME, Member

from checkout.memberships import domain, repository
from checkout.memberships.event_handlers import SYNC
from contracts.envelope import Envelope
from contracts.payments import SubscriptionChanged
from kit.jobs.jobs import Job
from kit.jobs.worker import JobWorker
from ledger.purchase import Purchase


async def _a_life(member: Member) -> None:
    """Created, upgraded, past due, active again, paused, resumed, canceled at the period's end, ended."""
    await member.join("student")
    await member.later(DAY)
    await member.done("change", membership="career")
    await member.fail_next(1)
    await member.renewal()
    await member.later(2 * DAY)
    await member.catch_up()
    for action in ("pause", "resume", "cancel"):
        await member.done(action)
        await member.later(HOUR)
    await member.renewal()
    await member.catch_up()


async def _forget(member: Member) -> None:
    """As if no event of the student's purchase had arrived yet."""
    purchase = str((await member.service.purchase(member.id))["id"])
    published = [e.id for e in await member.published()]
    ids = [e.id for e in member.events] + published
    groups = "SELECT group_id FROM facts WHERE event_id = ANY(:ids)"
    opened = "SET state = 'session_open', stripe_subscription_id = NULL"
    for sql, values in (
        ("DELETE FROM memberships WHERE id = CAST(:purchase AS uuid)", {"purchase": purchase}),
        ("DELETE FROM jobs WHERE payload ->> 'purchase_id' = :purchase", {"purchase": purchase}),
        ("DELETE FROM inbox WHERE event_id = ANY(:ids)", {"ids": ids}),
        (f"DELETE FROM fact_keys WHERE group_id IN ({groups})", {"ids": ids}),
        ("DELETE FROM facts WHERE event_id = ANY(:ids)", {"ids": ids}),
        ("DELETE FROM outbox_messages WHERE message_key = ANY(:ids)", {"ids": published}),
        (f"UPDATE purchases {opened} WHERE id = CAST(:purchase AS uuid)", {"purchase": purchase}),
    ):
        await member.service.rows(f"{sql} RETURNING 1", **values)


async def _deliver(member: Member, order: list[Envelope[Any]], chance: random.Random | None = None) -> None:
    for each in order:
        await member.service.deliver(each)
        if chance and chance.random() < 0.2:
            await member.service.perform(member.id, SYNC)
            await member.service.deliver(*await member.published())
    await member.service.perform(member.id)
    await member.service.deliver(*await member.published())


async def _outcome(member: Member) -> dict[str, Any]:
    (row,) = await member.rows()
    (purchase,) = await member.purchases()
    word = purchase.subscription
    assert word is not None
    names = ("status", "tier", "cancel_at_period_end", "current_period_end", "ended_at", "collection_paused")
    return {
        **{name: row[name] for name in (*SAME, "item_id", "stripe_price_id", "stripe_subscription_id")},
        "standing": purchase.standing(),
        "word": {name: getattr(word, name) for name in names},
        "state": (await member.service.purchase(member.id))["state"],
    }


async def _matches_stripe(member: Member) -> None:
    row, subscription = await member.row(), await member.subscription()
    item = subscription["items"].data[0]
    assert (row["status"], row["cancel_at_period_end"], row["paused"]) == (
        subscription.status,
        subscription.cancel_at_period_end,
        subscription.pause_collection is not None,
    )
    assert int(row["current_period_end"].timestamp()) == item.current_period_end
    assert item.price.recurring and (row["interval"], row["stripe_price_id"]) == (
        item.price.recurring.interval,
        item.price.id,
    )
    (purchase,) = await member.purchases()
    word = purchase.subscription
    assert word and (word.status, word.tier, word.collection_paused) == (row["status"], row["tier"], row["paused"])


async def test_a_life_in_every_order(member: Member) -> None:
    """Every order of the subscription's events; some are delivered twice."""
    await _a_life(member)
    changes: list[SubscriptionChanged] = [e.data for e in member.events if isinstance(e.data, SubscriptionChanged)]
    kept: list[SubscriptionChanged] = []
    for each in changes:  # what differs; eight of them are forty thousand orders
        if not any(each.model_copy(update={"as_of": other.as_of}) == other for other in kept):
            kept.append(each)
    statuses = [each.status for each in kept]
    assert {"past_due", "active", "canceled"} <= set(statuses) and any(each.collection_paused for each in kept)
    assert {each.tier for each in kept} == {"student", "career"} and any(e.cancel_at_period_end for e in kept)
    kept = kept[-8:]
    latest_of: dict[frozenset[int], SubscriptionChanged] = {}

    def latest(arrived: frozenset[int]) -> SubscriptionChanged:
        if arrived not in latest_of:
            found = Purchase(tuple(kept[n] for n in arrived)).subscription
            assert found is not None
            latest_of[arrived] = found
        return latest_of[arrived]

    ends = set()
    for order in permutations(range(len(kept))):
        first = kept[order[0]]
        stored, as_of = domain.state_of(first, tier="student"), domain.time_of(first)
        arrived: frozenset[int] = frozenset(order[:1])
        for number in (*order[1:], order[0]):
            arrived |= {number}
            stored, as_of = domain.update(stored, as_of, latest(arrived)) or (stored, as_of)
        ends.add((stored, as_of))
    assert len(ends) == 1
    assert ends.pop()[0].status == "canceled"


async def test_a_life_in_many_orders_on_the_database(member: Member) -> None:
    await _a_life(member)
    first = await _outcome(member)
    assert (first["status"], first["tier"], first["standing"][1]) == ("canceled", "career", "membership_ended")
    await _matches_stripe(member)
    for seed in range(12):
        chance = random.Random(seed)
        order = member.events + chance.sample(member.events, len(member.events) // 3)
        chance.shuffle(order)
        await _forget(member)
        await _deliver(member, order, chance)
        assert await _outcome(member) == first, f"seed {seed}"


async def test_events_of_one_second(member: Member) -> None:
    """Nobody can tell from their times which of them is the last; Stripe can."""
    await member.join("student")
    before = len(member.events)
    for action in ("pause", "resume", "pause"):
        assert (await member.act(action)).status_code == 200
    await member.fetch()
    same, rest = member.events[before:], member.events[:before]
    second = same[0].data.as_of
    same = [e.__class__(**{**vars(e), "data": e.data.model_copy(update={"as_of": second})}) for e in same]
    member.events = rest + same
    for order in permutations(same):
        await _forget(member)
        await _deliver(member, [*rest, *order, order[0]])
        await _matches_stripe(member)
        assert (await member.row())["paused"] is True
        assert await member.standing() == ("paused", "membership_paused")


@pytest.mark.parametrize("seed", range(4))
async def test_random_actions_and_late_events(member: Member, seed: int) -> None:
    chance = random.Random(seed)
    await member.join("student")
    late: list[Envelope[Any]] = []
    requests: list[tuple[str, dict[str, Any]]] = [
        ("pause", {}),
        ("resume", {}),
        ("cancel", {}),
        ("change", {"membership": "career"}),
        ("change", {"membership": "student", "interval": "year"}),
        ("change", {"membership": "student", "interval": "month"}),
    ]
    for _ in range(12):
        action, body = chance.choice(requests)
        assert (await member.act(action, **body)).status_code in (200, 409)
        late += await member.fetch()
        chance.shuffle(late)
        some, late = late[::2], late[1::2]
        await member.service.deliver(*some)
        if chance.random() < 0.5:
            await member.service.perform(member.id, SYNC)
    await _deliver(member, late)
    await member.catch_up()
    await _matches_stripe(member)


async def test_checkouts_own_events_cause_no_further_reading(member: Member) -> None:
    await member.join()
    await member.act("pause")
    await member.service.perform(member.id)

    async def looks() -> int:
        wanted = "SELECT 1 FROM jobs WHERE kind = :kind AND payload ->> 'purchase_id' = :purchase"
        return len(await member.service.rows(wanted, kind=SYNC, purchase=str((await member.row())["id"])))

    before = await looks()
    (published,) = await member.published()
    await member.service.deliver(published)
    assert await looks() == before
    await member.catch_up()
    assert len(await member.published()) == 1, "Stripe's own event tells nothing new"


async def test_an_outdated_reading_is_repeated(member: Member) -> None:
    """Stripe was asked before the pause, and the answer is recorded after its event."""
    await member.join()
    sync = member.service.handlers[SYNC]

    class DelayedSync:
        backoff = sync.backoff

        async def perform(self, job: Job) -> Any:
            seen = await sync.perform(job)
            assert (await member.act("pause")).status_code == 200
            await member.service.deliver(*await member.fetch())
            return seen

        async def record(self, *given: Any) -> None:
            await sync.record(*given)

        async def give_up(self, *given: Any) -> None:
            await sync.give_up(*given)

    async with member.service.database.transaction() as db:
        row = await repository.read(db, (await member.row())["id"])
        assert row is not None
    key = f"test/{uuid4()}"
    (wanted,) = await member.service.rows(
        "INSERT INTO jobs (kind, key, payload) VALUES (:kind, :key, jsonb_build_object('purchase_id', "
        "CAST(:purchase AS text))) RETURNING *",
        kind=SYNC,
        key=key,
        purchase=str(row.id),
    )
    job = Job(id=wanted["id"], kind=SYNC, key=key, payload=wanted["payload"], cause=None, attempt=1)
    await JobWorker(member.service.database, "checkout", {SYNC: DelayedSync()}).attempt(job)
    (waiting,) = await member.service.rows("SELECT done_at, last_error FROM jobs WHERE key = :key", key=key)
    assert waiting["done_at"] is None and "changed while" in waiting["last_error"]
    assert (await member.row())["paused"] is True, "the old answer was not recorded"
    await JobWorker(member.service.database, "checkout", {SYNC: sync}).attempt(job)
    (done,) = await member.service.rows("SELECT done_at FROM jobs WHERE key = :key", key=key)
    assert done["done_at"] is not None and (await member.row())["paused"] is True


async def test_a_price_that_was_changed_manually_at_stripe(member: Member) -> None:
    """The metadata still says student; the price that is charged counts."""
    await member.join("student")
    other = Member(member.service)
    await other.join("career")
    subscription = await member.subscription()
    await member.sandbox.api.subscriptions.update_async(
        subscription.id,
        {"items": [{"id": subscription["items"].data[0].id, "price": (await other.row())["stripe_price_id"]}]},
    )
    await member.catch_up()
    row = await member.row()
    assert (row["tier"], row["item_id"]) == ("career", (await other.row())["item_id"])
    (purchase,) = await member.purchases()
    assert purchase.subscription and purchase.subscription.tier == "career"


async def test_an_item_that_is_off_sale_keeps_its_members(member: Member) -> None:
    def item(name: str, tier: str) -> dict[str, Any]:
        return {"kind": "membership", "slug": name, "name": name, "price": 7, "tier": tier}

    tier = f"tier-{uuid4().hex[:8]}"
    for name in (f"{tier}-old", f"{tier}-new"):
        assert (await member.service.admin("POST", "/api/admin/items", **item(name, tier))).status_code == 201
    assert (await member.buy(tier)).status_code == 404, "two have this tier"
    await member.join(f"{tier}-old")
    first = (await member.row())["item_id"]
    await member.service.admin("DELETE", f"/api/admin/items/{tier}-old")
    await member.done("pause")
    row = await member.row()
    assert (row["item_id"], row["tier"], row["paused"]) == (first, tier, True)
    assert (await Member(member.service).buy(tier)).status_code == 200, "now it is one"
