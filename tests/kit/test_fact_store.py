"""The fact store: groups of facts that share keys, in any order and with concurrent writers."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.waiting import until

from kit.db.database import Database, lost_a_race, waited_for_a_lock
from kit.messaging import fact_store
from kit.messaging.fact_store import Fact, NewFact

AT = datetime(2026, 11, 21, tzinfo=UTC)


def fact(n: int) -> Fact:
    return Fact(event_id=f"evt_{n}", type="t", time=AT, body=json.dumps({"n": n}))


# a chain: each fact shares a key with the next one; the ends share none
CHAIN = [(fact(n), {f"key_{n}", f"key_{n + 1}"}) for n in range(4)]


async def store(database: Database, entry: tuple[Fact, set[str]]) -> set[str]:
    async with database.transaction() as db:
        (group,) = await fact_store.merge_all(db, [NewFact(fact=entry[0], keys=entry[1])])
        return {each.event_id for each in group.facts}


async def test_every_order_ends_in_one_group(database: Database) -> None:
    for attempt, order in enumerate(itertools.permutations(CHAIN)):
        renamed = [
            (replace(f, event_id=f"{attempt}/{f.event_id}"), {f"{attempt}/{key}" for key in keys}) for f, keys in order
        ]
        group: set[str] = set()
        for entry in renamed:
            group = await store(database, entry)
            assert entry[0].event_id in group
        assert len(group) == 4 or len(await _group_of(database, f"{attempt}/key_0")) == 4


async def _group_of(database: Database, key: str) -> list[Fact]:
    async with database.transaction() as db:
        return await fact_store.group_of(db, key)


async def test_merging_a_fact_twice_changes_nothing(database: Database) -> None:
    for _ in range(3):
        assert await store(database, CHAIN[0]) == {"evt_0"}
    assert await _group_of(database, "key_0") == [CHAIN[0][0]]


async def test_facts_without_a_shared_key_stay_apart(database: Database) -> None:
    await store(database, (fact(1), {"a", "b"}))
    assert await store(database, (fact(2), {"c"})) == {"evt_2"}
    assert await _group_of(database, "nobody") == []


async def test_concurrent_merges_end_in_one_group(database: Database) -> None:
    """Sixty facts in one chain, in a random order, sixteen at a time."""
    rng = random.Random(7)
    entries = [(fact(n), {f"key_{n}", f"key_{n + 1}"}) for n in range(60)]
    rng.shuffle(entries)
    gate = asyncio.Semaphore(16)

    async def one(entry: tuple[Fact, set[str]]) -> None:
        async with gate:
            for _ in range(20):
                try:
                    await store(database, entry)
                    return
                except DBAPIError as error:  # the database aborts a deadlock; retried, as the middleware does
                    if not lost_a_race(error):
                        raise
            raise AssertionError("deadlocked twenty times")

    await asyncio.gather(*(one(entry) for entry in entries))
    assert len(await _group_of(database, "key_0")) == 60


async def test_a_group_is_locked_until_its_transaction_ends(database: Database) -> None:
    """The second writer of a group waits for the first, then sees its facts."""
    first_holds = asyncio.Event()
    release = asyncio.Event()

    async def first() -> None:
        async with database.transaction() as db:
            await fact_store.merge_all(db, [NewFact(fact=fact(1), keys={"shared"})])
            first_holds.set()
            await release.wait()

    async def second() -> set[str]:
        await first_holds.wait()
        return await store(database, (fact(2), {"shared", "more"}))

    tasks = asyncio.create_task(first()), asyncio.create_task(second())
    await first_holds.wait()
    await asyncio.sleep(0.2)
    assert not tasks[1].done()
    release.set()
    await tasks[0]
    assert await tasks[1] == {"evt_1", "evt_2"}


# --- locks are taken in one order -------------------------------------------------------------------------------------

KEYS = [f"key_{n}" for n in range(9, 0, -1)]
"""In the order of neither the keys nor the locks."""


async def merge_keys(database: Database) -> None:
    async with database.transaction() as db:
        await fact_store.merge_all(db, [NewFact(fact=fact(n), keys={key}) for n, key in enumerate(KEYS)])


async def test_stored_keys_are_locked_in_their_order(database: Database) -> None:
    """And not in the order of the table, in which they were stored."""
    for n, key in enumerate(KEYS):
        await store(database, (fact(n), {key}))
    async with database.transaction() as holder:
        await holder.execute(text("SELECT FROM fact_keys WHERE key = 'key_5' FOR UPDATE"))
        merging = asyncio.create_task(merge_keys(database))
        await _waits(database)
        async with database.transaction() as db:
            free = await db.scalars(text("SELECT key FROM fact_keys ORDER BY key FOR UPDATE SKIP LOCKED"))
            assert list(free) == ["key_6", "key_7", "key_8", "key_9"]
    await merging


async def test_new_keys_are_added_in_their_order(database: Database) -> None:
    add = text("INSERT INTO fact_keys VALUES (:key, gen_random_uuid())")
    async with database.transaction() as holder:
        await holder.execute(add, {"key": "key_5"})
        merging = asyncio.create_task(merge_keys(database))
        await _waits(database)
        async with database.engine.connect() as db:
            await db.execute(add, {"key": "key_9"})  # not added yet, so nobody waits
            await db.rollback()
            await db.execute(text("SET LOCAL lock_timeout = '100ms'"))
            with pytest.raises(DBAPIError) as failed:
                await db.execute(add, {"key": "key_1"})
            assert waited_for_a_lock(failed.value)
    await merging


async def _waits(database: Database) -> None:
    """Until a transaction of this database waits for a lock of another one."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    async def one_waits() -> bool:
        async with database.transaction() as db:
            return bool(await db.scalar(waiting))

    await until(one_waits)


async def test_a_removed_key_is_added_again_by_the_transaction_that_waited_for_it(database: Database) -> None:
    await store(database, (fact(1), {"lasting", "removed"}))
    async with database.transaction() as db:
        await fact_store.merge_all(db, [NewFact(fact=fact(2), keys={"lasting"})])
        other = asyncio.create_task(store(database, (fact(3), {"removed"})))
        await _waits(database)
        await fact_store.remove(db, event_ids=["evt_1"], keys=["removed"])
    assert await other == {"evt_3"}
    assert [each.event_id for each in await _group_of(database, "lasting")] == ["evt_2"]
