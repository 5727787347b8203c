"""Refolding on a real database: rows follow stored facts again, beside consumers, and nothing happens twice."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import text
from tests.deliveries import envelope
from tests.kit.totals import Total, apply, paid, process, projection, rows, wanted

from contracts.payments import PaymentEvent, PaymentSucceeded
from kit.db.database import Database
from kit.messaging import refold as refolding
from kit.messaging.batches import Batches
from kit.messaging.event_facts import FactRules
from kit.messaging.projection import Projection
from kit.messaging.refold import Refolded, refold
from kit.runtime.process import main

TOTALS = "SELECT reference, amount, revision FROM totals ORDER BY 1"
PUBLISHED = "SELECT message_key FROM outbox_messages ORDER BY id"


def doubled(facts: Mapping[str, PaymentSucceeded]) -> dict[UUID, Total]:
    return {id: replace(total, amount=2 * total.amount) for id, total in wanted(facts).items()}


MENDED: Projection[Total, Total] = replace(projection(), wanted=doubled)


async def run(database: Database, projected: Projection[Total, Total] = MENDED, **selected: object) -> Refolded:
    return await refold(database, projected.apply_all, service="test", **selected)  # type: ignore[arg-type]


async def test_rows_follow_the_mended_rule_and_a_second_run_changes_nothing(with_totals: Database) -> None:
    await apply(with_totals, projection(), "evt_1", paid(100, "pi_a", "ch_a"))
    await apply(with_totals, projection(), "evt_2", paid(50, "pi_b"))
    before = await rows(with_totals, PUBLISHED)
    result = await run(with_totals)
    assert (result.groups, result.rows, result.events, result.failed) == (2, 3, 3, [])
    assert str(result) == "groups read: 2, rows changed: 3, events to publish: 3"
    assert await rows(with_totals, TOTALS) == [("ch_a", 200, 2), ("pi_a", 200, 2), ("pi_b", 100, 2)]
    published = await rows(with_totals, PUBLISHED)
    ids = [id for (id,) in await rows(with_totals, "SELECT id FROM totals")]
    assert {key for (key,) in published[len(before) :]} == {f"{id}/2" for id in ids}, "as a consumer names them"

    again = await run(with_totals)
    assert (again.groups, again.rows, again.events) == (2, 0, 0)
    assert await rows(with_totals, PUBLISHED) == published


async def test_a_consumer_and_a_refold_that_make_the_same_change_publish_it_once(with_totals: Database) -> None:
    await apply(with_totals, projection(), "evt_1", paid(100, "pi_a"))
    await apply(with_totals, MENDED, "evt_2", paid(1, "pi_a"))
    assert (await run(with_totals)).rows == 0
    assert await rows(with_totals, "SELECT count(*) FROM outbox_messages") == [(2,)]


async def test_every_group_is_read_once_in_small_transactions(
    with_totals: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refolding, "GROUPS", 3)
    for n in range(10):
        await apply(with_totals, projection(), f"evt_{n}", paid(n + 1, f"pi_{n}"))
    result = await run(with_totals)
    assert (result.groups, result.rows) == (10, 10)
    groups = [id for (id,) in await rows(with_totals, "SELECT DISTINCT group_id FROM fact_keys ORDER BY 1")]
    rest = await run(with_totals, projection(), after=groups[3])
    assert (rest.groups, rest.rows) == (6, 6), "continued after the fourth group"


async def test_only_the_groups_with_a_key_like_the_pattern(with_totals: Database) -> None:
    for n in range(4):
        await apply(with_totals, projection(), f"evt_{n}", paid(n + 1, f"pi_{n}"))
    assert (await run(with_totals, pattern="pi\\_2%")).rows == 1
    assert [row[:2] for row in await rows(with_totals, TOTALS)] == [("pi_0", 1), ("pi_1", 2), ("pi_2", 6), ("pi_3", 4)]


async def test_groups_that_belong_together_by_a_mended_rule_are_joined(with_totals: Database) -> None:
    def by_intent(event: PaymentEvent) -> frozenset[str]:
        return frozenset({event.refs.payment_intent or ""})

    narrow = replace(projection(), rules=FactRules(keys=by_intent))
    await apply(with_totals, narrow, "evt_1", paid(100, "pi_a", "ch_a"))
    await apply(with_totals, narrow, "evt_2", paid(50, "pi_b", "ch_a"))
    assert [row[:2] for row in await rows(with_totals, TOTALS)] == [("ch_a", 50), ("pi_a", 100), ("pi_b", 50)]
    await run(with_totals, projection())
    assert [row[:2] for row in await rows(with_totals, TOTALS)] == [("ch_a", 150), ("pi_a", 100), ("pi_b", 50)]
    assert await rows(with_totals, "SELECT count(DISTINCT group_id) FROM facts") == [(1,)]


async def test_a_group_that_fails_is_skipped_and_reported(with_totals: Database) -> None:
    def fails(facts: Mapping[str, PaymentSucceeded]) -> dict[UUID, Total]:
        if any(fact.amount.amount == 3 for fact in facts.values()):
            raise ValueError("not this one")
        return doubled(facts)

    for n in range(1, 6):
        await apply(with_totals, projection(), f"evt_{n}", paid(n, f"pi_{n}"))
    result = await run(with_totals, replace(projection(), wanted=fails))
    (group,) = await rows(with_totals, "SELECT group_id FROM fact_keys WHERE key = 'pi_3'")
    assert (result.groups, result.rows, result.failed) == (5, 4, [*group])
    assert [amount for _, amount, _ in await rows(with_totals, TOTALS)] == [2, 4, 3, 8, 10]


async def test_it_waits_for_a_group_that_another_transaction_holds(
    with_totals: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refolding, "LOCK_TIMEOUT", "50ms")
    await apply(with_totals, projection(), "evt_1", paid(100, "pi_a"))
    async with with_totals.transaction() as db:
        await db.execute(text("SELECT 1 FROM fact_keys FOR UPDATE"))
        running = asyncio.create_task(run(with_totals))
        await asyncio.sleep(0.3)
        assert not running.done()
    assert (await running).rows == 1


async def test_beside_consumers_nothing_is_lost(with_totals: Database) -> None:
    """Events arrive, and join groups, while all groups are refolded again and again."""
    events = [envelope(f"evt_{n}", paid(n + 1, f"pi_{n % 40}", f"ch_{n % 17}")) for n in range(200)]
    for event in events[:50]:
        await apply(with_totals, projection(), event.id, event.data)  # type: ignore[arg-type]  # a payment
    batches = Batches(with_totals, queue="test.totals", service="test")
    consuming = asyncio.gather(*(process(batches, event, MENDED) for event in events[50:]))
    refolded = [await run(with_totals)]
    while not consuming.done():
        refolded.append(await run(with_totals))
    await consuming
    refolded.append(await run(with_totals))
    assert not any(each.failed for each in refolded)
    expected = doubled({event.id: event.data for event in events})  # type: ignore[misc]  # payments
    found = {id: amount for id, amount in await rows(with_totals, "SELECT id, amount FROM totals")}
    assert found == {id: total.amount for id, total in expected.items()}
    assert (await run(with_totals)).rows == 0


def test_a_command_is_not_a_role_and_gets_its_arguments() -> None:
    given: list[list[str]] = []

    def command(arguments: object) -> int:
        given.append(list(arguments))  # type: ignore[call-overload]  # a sequence of text
        return 3

    with pytest.raises(SystemExit, match="3"):
        main("test", {}, ["refold", "--student", "x"], commands={"refold": command})
    assert given == [["--student", "x"]]
    with pytest.raises(SystemExit, match="2"):
        main("test", {"api": lambda: None}, ["api", "--all"], commands={"refold": command})
