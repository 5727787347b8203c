"""Batches of messages in one transaction: the same rows as one by one, and no message hurts its neighbors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from tests.deliveries import AT, envelope
from tests.kit.totals import Total, paid, projection, rows, wanted

from contracts.envelope import Envelope
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.messaging import fact_store
from kit.messaging.batches import Batches
from kit.messaging.fact_store import Fact, NewFact
from kit.messaging.projection import Change, Lock
from kit.runtime.failures import Permanent

SUMS = "SELECT reference, amount FROM totals ORDER BY 1"


async def empty(database: Database) -> None:
    async with database.transaction() as db:
        await db.execute(text("TRUNCATE totals, facts, fact_keys, inbox, outbox_messages, outbox_due, jobs"))


async def apply(database: Database, batches: Iterable[Sequence[Envelope[Any]]]) -> None:
    for batch in batches:
        async with database.transaction() as db:
            await projection().apply_all(UnitOfWork(db=db, source="test", now=AT), batch)


def cuts(count: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, 5), min_size=count, max_size=count)


REFERENCES = st.sampled_from(["pi_a", "pi_b", "ch_a", "ch_b", "ch_c"])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(1, 9), REFERENCES, REFERENCES | st.none()), min_size=1, max_size=12),
    cuts(12),
    st.randoms(use_true_random=False),
)
async def test_batches_of_any_cut_end_in_the_rows_of_single_messages(
    with_totals: Database, events: list[tuple[int, str, str | None]], sizes: list[int], order: Any
) -> None:
    envelopes = [
        envelope(f"evt_{n}", paid(amount, *(ref for ref in (one, other) if ref)))
        for n, (amount, one, other) in enumerate(events)
    ]
    await empty(with_totals)
    await apply(with_totals, [[each] for each in envelopes])
    expected = await rows(with_totals, SUMS)
    await empty(with_totals)
    order.shuffle(envelopes)
    batches, rest = [], envelopes
    for size in sizes:
        batches.append(rest[:size])
        rest = rest[size:]
    await apply(with_totals, [batch for batch in (*batches, rest) if batch])
    assert await rows(with_totals, SUMS) == expected


async def test_merging_many_facts_joins_the_groups_that_share_keys(database: Database) -> None:
    def new(n: int, *keys: str) -> NewFact:
        return NewFact(fact=Fact(event_id=f"evt_{n}", type="t", time=AT, body={"n": n}), keys=keys)

    async def merge(*entries: NewFact) -> list[list[str]]:
        async with database.transaction() as db:
            groups = await fact_store.merge_all(db, entries)
            return sorted([fact.event_id for fact in group] for group in groups)

    assert await merge(new(1, "a"), new(2, "b"), new(3, "a", "c")) == [["evt_1", "evt_3"], ["evt_2"]]
    assert await merge(new(4, "d"), new(5, "c", "b")) == [["evt_1", "evt_2", "evt_3", "evt_5"], ["evt_4"]]
    assert await merge(new(4, "d"), new(1, "a")) == [["evt_1", "evt_2", "evt_3", "evt_5"], ["evt_4"]]
    with pytest.raises(ValueError, match="at least one key"):
        await merge(new(6))


async def test_batches_that_share_keys_in_opposite_order_do_not_wait_for_each_other(with_totals: Database) -> None:
    def batch(name: str, references: list[str]) -> list[Envelope[Any]]:
        return [envelope(f"{name}/{each}", paid(1, each)) for each in references]

    references = [f"pi_{n}" for n in range(20)]
    one, other = batch("one", references), batch("other", references[::-1])
    await asyncio.gather(*(apply(with_totals, [each]) for each in (one, other)))
    assert {amount for _, amount in await rows(with_totals, SUMS)} == {2}


# --- the batches of a queue -------------------------------------------------------------------------------------------


def batches(database: Database) -> Batches:
    return Batches(database, queue="test.totals", service="test")


async def test_duplicates_in_one_batch_and_after_it_are_recognized(with_totals: Database) -> None:
    queue, projected = batches(with_totals), projection()
    event, other = envelope("evt_1", paid(5, "pi_a")), envelope("evt_2", paid(7, "pi_b"))
    results = await asyncio.gather(*(queue.process(each, projected) for each in (event, other, event)))
    assert results == [True, True, False]
    assert await queue.process(other, projected) is False
    assert await rows(with_totals, SUMS) == [("pi_a", 5), ("pi_b", 7)]


async def test_a_message_that_fails_is_alone_with_its_failure(with_totals: Database) -> None:
    def poisoned(facts: Mapping[str, Any]) -> dict[UUID, Total]:
        if any(fact.amount.amount == 13 for fact in facts.values()):
            raise Permanent("thirteen")
        return wanted(facts)

    queue, projected = batches(with_totals), replace(projection(), wanted=poisoned)
    events = [envelope(f"evt_{n}", paid(n, f"pi_{n:02}")) for n in range(10, 16)]
    results = await asyncio.gather(*(queue.process(each, projected) for each in events), return_exceptions=True)
    failed = [result for result in results if isinstance(result, Exception)]
    assert [str(each) for each in failed] == ["thirteen"]
    assert [amount for _, amount in await rows(with_totals, SUMS)] == [10, 11, 12, 14, 15]
    assert await rows(with_totals, "SELECT count(*) FROM inbox") == [(5,)], "the failed one can be tried again"


async def test_a_held_lock_delays_only_the_messages_that_need_it(
    with_totals: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.messaging.batches.LOCK_TIMEOUT", "200ms")

    def locks(changes: Sequence[Change[Total]]) -> Iterable[Lock]:
        return [Lock(name=change.after.reference) for change in changes]

    queue, projected = batches(with_totals), projection(locks=locks)
    async with with_totals.transaction() as db:
        await db.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('pi_held', 0))"))
        events = [envelope("evt_1", paid(1, "pi_held")), envelope("evt_2", paid(2, "pi_free"))]
        held, free = await asyncio.gather(*(queue.process(e, projected) for e in events), return_exceptions=True)
    assert free is True
    assert isinstance(held, Exception)
    assert await queue.process(events[0], projected) is True


async def test_a_batch_is_one_transaction(with_totals: Database) -> None:
    queue, projected = batches(with_totals), projection()
    events = [envelope(f"evt_{n}", paid(1, f"pi_{n}")) for n in range(40)]
    await asyncio.gather(*(queue.process(each, projected) for each in events))
    (transactions,) = await rows(with_totals, "SELECT count(DISTINCT xmin::text) FROM totals")
    assert transactions == (1,)
    assert await rows(with_totals, "SELECT count(*) FROM outbox_messages") == [(40,)]
