"""Batches of messages in one transaction: the same rows as one by one, and no message hurts its neighbors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.deliveries import AT, envelope
from tests.kit.totals import Total, paid, process, projection, rows, wanted

from contracts.envelope import Envelope
from contracts.payments import PaymentSucceeded
from kit.db.database import Database, waited_for_a_lock
from kit.db.unit_of_work import UnitOfWork
from kit.messaging import fact_store
from kit.messaging.batches import Batches, Stopping
from kit.messaging.event_facts import FactRules
from kit.messaging.fact_store import Fact, NewFact
from kit.messaging.inbox import Handler
from kit.messaging.projection import Change, Lock
from kit.messaging.subscriber import carries
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
        return NewFact(fact=Fact(event_id=f"evt_{n}", type="t", time=AT, body=json.dumps({"n": n})), keys=keys)

    async def merge(*entries: NewFact) -> list[list[str]]:
        async with database.transaction() as db:
            groups = await fact_store.merge_all(db, entries)
            return sorted([fact.event_id for fact in group.facts] for group in groups)

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


async def handle(queue: Batches, event: Envelope[Any], handler: Handler) -> bool:
    return await queue.process(event, handler, carries(PaymentSucceeded))


async def test_duplicates_in_one_batch_and_after_it_are_recognized(with_totals: Database) -> None:
    queue, projected = batches(with_totals), projection()
    event, other = envelope("evt_1", paid(5, "pi_a")), envelope("evt_2", paid(7, "pi_b"))
    results = await asyncio.gather(*(process(queue, each, projected) for each in (event, other, event)))
    assert results == [True, True, False]
    assert await process(queue, other, projected) is False
    assert await rows(with_totals, SUMS) == [("pi_a", 5), ("pi_b", 7)]


async def test_a_message_that_fails_is_alone_with_its_failure(with_totals: Database) -> None:
    def poisoned(facts: Mapping[str, Any]) -> dict[UUID, Total]:
        if any(fact.amount.amount == 13 for fact in facts.values()):
            raise Permanent("thirteen")
        return wanted(facts)

    queue, projected = batches(with_totals), replace(projection(), wanted=poisoned)
    events = [envelope(f"evt_{n}", paid(n, f"pi_{n:02}")) for n in range(10, 16)]
    results = await asyncio.gather(*(process(queue, each, projected) for each in events), return_exceptions=True)
    failed = [result for result in results if isinstance(result, Exception)]
    assert [str(each) for each in failed] == ["thirteen"]
    assert [amount for _, amount in await rows(with_totals, SUMS)] == [10, 11, 12, 14, 15]
    assert await rows(with_totals, "SELECT count(*) FROM inbox") == [(5,)], "the failed one can be tried again"


async def test_a_held_lock_delays_only_the_messages_that_need_it(with_totals: Database) -> None:
    """32 messages of one program whose lock is held, 5 of another between them. No message waits for the lock's end."""

    def locks(changes: Sequence[Change[Total]]) -> Iterable[Lock]:
        return [Lock(name=change.after.reference.partition("/")[0]) for change in changes]

    queue, projected = batches(with_totals), projection(locks=locks)
    held = [envelope(f"evt_held_{n}", paid(1, f"held/{n}")) for n in range(32)]
    free = [envelope(f"evt_free_{n}", paid(2, f"free_{n}")) for n in range(5)]
    async with with_totals.transaction() as db:
        await db.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('held', 0))"))
        async with asyncio.timeout(30):
            results = await asyncio.gather(
                *(process(queue, each, projected) for each in held[:20] + free + held[20:]), return_exceptions=True
            )
    assert results[20:25] == [True] * 5
    assert all(isinstance(each, DBAPIError) and waited_for_a_lock(each) for each in results[:20] + results[25:])
    assert await asyncio.gather(*(process(queue, each, projected) for each in held)) == [True] * 32


async def test_a_batch_is_one_transaction(with_totals: Database) -> None:
    queue, projected = batches(with_totals), projection()
    events = [envelope(f"evt_{n}", paid(1, f"pi_{n}")) for n in range(40)]
    await asyncio.gather(*(process(queue, each, projected) for each in events))
    (transactions,) = await rows(with_totals, "SELECT count(DISTINCT xmin::text) FROM totals")
    assert transactions == (1,)
    assert await rows(with_totals, "SELECT count(*) FROM outbox_messages") == [(40,)]


# --- handlers in batches ----------------------------------------------------------------------------------------------


async def note(event: Envelope[Any], uow: UnitOfWork) -> None:
    await uow.db.execute(text("INSERT INTO done VALUES (:id, :note)"), {"id": event.id, "note": _bound("event_id")})
    await uow.publish(event.data, id=f"{event.id}/noted", subject="test")
    await uow.enqueue("report", key=event.id, payload={})


def _bound(name: str) -> str:
    return str(structlog.contextvars.get_contextvars().get(name, ""))


async def handle_as(queue: Batches, event: Envelope[Any], handler: Handler) -> bool:
    """As the middleware does it: within the context of the message."""
    with structlog.contextvars.bound_contextvars(event_id=event.id):
        return await handle(queue, event, handler)


async def handle_all(queue: Batches, events: Iterable[Envelope[Any]], handler: Handler) -> list[bool | BaseException]:
    tasks = [asyncio.create_task(handle_as(queue, each, handler)) for each in events]
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_handlers_share_a_transaction_and_run_in_their_messages_contexts(database: Database) -> None:
    events = [envelope(f"evt_{n:02}", paid(1, f"pi_{n}")) for n in range(40)]
    statements: list[str] = []
    listener = lambda *found: statements.append(found[2])  # noqa: E731
    sqlalchemy_event.listen(database.engine.sync_engine, "before_cursor_execute", listener)
    assert await handle_all(batches(database), events, note) == [True] * 40
    assert await rows(database, "SELECT count(DISTINCT xmin::text), count(*) FROM done") == [(1, 40)]
    assert await rows(database, "SELECT count(*) FROM done WHERE note = event_id") == [(40,)], "the log's context"
    assert await rows(database, "SELECT count(*) FROM jobs") == [(40,)]
    written = [each for each in statements if "INTO jobs" in each or "INTO inbox" in each]
    assert len(written) == 2, "one statement for all of them"


async def test_a_handler_that_fails_is_alone_with_its_failure(database: Database) -> None:
    async def fails_on_three(event: Envelope[Any], uow: UnitOfWork) -> None:
        await note(event, uow)
        if event.id == "evt_3":
            raise Permanent("three")

    events = [envelope(f"evt_{n}", paid(1, f"pi_{n}")) for n in range(6)]
    results = await handle_all(batches(database), events, fails_on_three)
    assert [str(each) for each in results] == ["True", "True", "True", "three", "True", "True"]
    ids = [(f"evt_{n}",) for n in (0, 1, 2, 4, 5)]
    assert await rows(database, "SELECT event_id FROM done ORDER BY 1") == ids
    assert await rows(database, "SELECT key FROM jobs ORDER BY 1") == ids
    assert await rows(database, "SELECT event_id FROM inbox ORDER BY 1") == ids


async def test_the_same_message_and_the_same_job_twice_in_a_batch_are_one(database: Database) -> None:
    async def same(event: Envelope[Any], uow: UnitOfWork) -> None:
        await uow.publish(event.data, id="one", subject="test")
        await uow.enqueue("report", key="one", payload={"by": event.id})

    first, second = (envelope(f"evt_{n}", paid(1, f"pi_{n}")) for n in range(2))
    assert await handle_all(batches(database), [first, second, first], same) == [True, True, False]
    assert await rows(database, "SELECT key, payload->>'by' FROM jobs") == [("one", "evt_0")]


async def test_a_lost_race_is_tried_again_as_a_batch(database: Database) -> None:
    """Repeated by the batch itself: not one by one, and not as a failure of the messages."""
    attempts = 0

    async def conflicting(event: Envelope[Any], uow: UnitOfWork) -> None:
        nonlocal attempts
        await note(event, uow)
        attempts += 1
        if attempts in (3, 5):
            await uow.db.execute(text("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'serialization_failure'; END $$"))

    events = [envelope(f"evt_{n}", paid(1, f"pi_{n}")) for n in range(3)]
    assert await handle_all(batches(database), events, conflicting) == [True] * 3
    assert await rows(database, "SELECT count(DISTINCT xmin::text), count(*) FROM done") == [(1, 3)]


async def test_a_canceled_batch_cancels_its_messages(database: Database) -> None:
    started = asyncio.Event()

    async def waits(event: Envelope[Any], uow: UnitOfWork) -> None:
        started.set()
        await asyncio.sleep(60)

    queue = batches(database)
    waiting = asyncio.create_task(handle(queue, envelope("evt_1", paid(1, "pi_1")), waits))
    await started.wait()
    assert queue._worker is not None
    queue._worker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await rows(database, "SELECT count(*) FROM inbox") == [(0,)]


async def test_handlers_that_are_slow_together_are_run_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.messaging.batches.MAX_SECONDS", 0.2)

    async def slow(event: Envelope[Any], uow: UnitOfWork) -> None:
        await note(event, uow)
        await asyncio.sleep(0.15)

    events = [envelope(f"evt_{n}", paid(1, f"pi_{n}")) for n in range(5)]
    assert await handle_all(batches(database), events, slow) == [True] * 5
    assert await rows(database, "SELECT count(DISTINCT xmin::text), count(*) FROM done") == [(5, 5)]


async def test_stopping_finishes_the_batch_in_progress_and_no_other(database: Database) -> None:
    started = asyncio.Event()

    async def slow(event: Envelope[Any], uow: UnitOfWork) -> None:
        started.set()
        await asyncio.sleep(0.2)
        await note(event, uow)

    queue = batches(database)
    first = asyncio.create_task(handle(queue, envelope("evt_0", paid(1, "pi_0")), slow))
    await started.wait()
    others = [asyncio.create_task(handle(queue, envelope(f"evt_{n}", paid(1, "pi_1")), slow)) for n in (1, 2)]
    await asyncio.sleep(0)
    queue.stop()
    late = asyncio.create_task(handle(queue, envelope("evt_3", paid(1, "pi_1")), slow))
    assert await first is True
    results = await asyncio.gather(*others, late, return_exceptions=True)
    assert all(isinstance(each, Stopping) for each in results)
    assert await rows(database, "SELECT event_id FROM inbox") == [("evt_0",)]


RULES = FactRules(keys=lambda event: event.refs.of_payment())


async def test_the_events_of_a_batch_are_merged_together_and_handled_by_group(database: Database) -> None:
    """And a group that is changed while another one is handled is handled as it is then."""
    seen: list[tuple[list[str], set[str]]] = []

    async def handle_group(uow: UnitOfWork, events: Sequence[Envelope[Any]]) -> None:
        group = await uow.merge(events[0], RULES)
        if not seen:
            await uow.merge(envelope("evt_more", paid(5, "pi_1")), RULES)
        seen.append((sorted(event.id for event in events), set(group.facts)))

    async def merging(event: Envelope[Any], uow: UnitOfWork) -> None:
        raise AssertionError("handled alone")

    merges: list[str] = []
    listener = lambda *found: merges.append(found[2]) if "INTO facts" in found[2] else None  # noqa: E731
    sqlalchemy_event.listen(database.engine.sync_engine, "before_cursor_execute", listener)
    events = [envelope(f"evt_{n}", paid(1, f"pi_{n % 2}")) for n in range(4)]
    queue = batches(database)
    filter = carries(PaymentSucceeded, merging=RULES, together=handle_group)
    assert await asyncio.gather(*(queue.process(each, merging, filter) for each in events)) == [True] * 4
    assert len(merges) == 2
    assert seen == [
        (["evt_0", "evt_2"], {"evt_0", "evt_2"}),
        (["evt_1", "evt_3"], {"evt_1", "evt_3", "evt_more"}),
    ]


async def test_what_is_logged_for_a_group_names_all_of_its_events(database: Database) -> None:
    named: dict[Any, Any] = {}

    async def handle_group(uow: UnitOfWork, events: Sequence[Envelope[Any]]) -> None:
        context = structlog.contextvars.get_contextvars()
        named[context["event_id"]] = context["correlation"]

    async def merging(event: Envelope[Any], uow: UnitOfWork) -> None:
        raise AssertionError("handled alone")

    events = [envelope(f"evt_{n}", paid(1, "pi_1")) for n in range(3)]
    events[0] = replace(events[0], correlation_id="evt_first")
    queue, filter = batches(database), carries(PaymentSucceeded, together=handle_group)
    await queue.process(events[0], merging, filter)
    await asyncio.gather(*(queue.process(each, merging, filter) for each in events[1:]))
    assert named == {"evt_0": "evt_first", ("evt_1", "evt_2"): ("evt_1", "evt_2")}


async def test_facts_of_an_unknown_type_are_kept_and_skipped(database: Database) -> None:
    """A later version has stored one; this one still runs beside it, or was rolled back to."""
    newer = Fact(event_id="evt_new", type="payment.teleported.v9", time=AT, body='{"refs": {}}')
    async with database.transaction() as db:
        await fact_store.merge_all(db, [NewFact(fact=newer, keys={"pi_1"})])
    async with database.transaction() as db:
        group = await UnitOfWork(db=db, source="test", now=AT).merge(envelope("evt_1", paid(1, "pi_1")), RULES)
        assert set(group.facts) == {"evt_1"}
    assert await rows(database, "SELECT event_id FROM facts ORDER BY 1") == [("evt_1",), ("evt_new",)]
