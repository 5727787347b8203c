"""Projections on a real database: what is written, published, locked and done again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import text
from tests.kit.totals import (
    Steps,
    Total,
    apply,
    paid,
    projection,
    rows,
    wanted,
)

from kit.db.database import Database
from kit.messaging.projection import Change, Lock


async def test_only_differences_are_written_published_and_enqueued(with_totals: Database) -> None:
    steps = Steps()
    projected = projection(steps)
    await apply(with_totals, projected, "evt_1", paid(100, "pi_a"))
    await apply(with_totals, projected, "evt_1", paid(100, "pi_a"))
    await apply(with_totals, projected, "evt_2", paid(50, "pi_a", "ch_a"))
    assert steps.changes == [("pi_a", None, 100), ("ch_a", None, 50), ("pi_a", 100, 150)] or steps.changes == [
        ("pi_a", None, 100),
        ("pi_a", 100, 150),
        ("ch_a", None, 50),
    ]
    assert await rows(with_totals, "SELECT reference, amount, revision FROM totals ORDER BY 1") == [
        ("ch_a", 50, 1),
        ("pi_a", 150, 2),
    ]
    assert await rows(with_totals, "SELECT count(*) FROM outbox_messages") == [(3,)]
    assert await rows(with_totals, "SELECT count(*) FROM jobs WHERE kind = 'report'") == [(3,)]


async def test_a_mended_rule_is_applied_by_projecting_again(with_totals: Database) -> None:
    """The rows of the group follow, without any new event."""
    await apply(with_totals, projection(), "evt_1", paid(100, "pi_b"))
    doubled = replace(
        projection(), wanted=lambda facts: {k: replace(v, amount=2 * v.amount) for k, v in wanted(facts).items()}
    )
    changes = await apply(with_totals, doubled, "evt_1", paid(100, "pi_b"))
    assert [(each.before and each.before.amount, each.after.amount) for each in changes] == [(100, 200)]


async def test_a_declared_lock_is_waited_for_only_when_something_changes(with_totals: Database) -> None:
    def locks(changes: Sequence[Change[Total]]) -> Iterable[Lock]:
        return [Lock(name="totals")]

    locked = projection(locks=locks)
    await apply(with_totals, locked, "evt_1", paid(100, "pi_c"))
    async with with_totals.transaction() as db:
        await db.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('totals', 0))"))
        assert await apply(with_totals, locked, "evt_1", paid(100, "pi_c")) == ()
        waiting = asyncio.create_task(apply(with_totals, locked, "evt_2", paid(1, "pi_c")))
        await asyncio.sleep(0.2)
        assert not waiting.done()
    assert len(await waiting) == 1


async def test_what_is_decided_under_the_lock_sees_what_was_written_before(with_totals: Database) -> None:
    """Twenty events of one row at once: no sum is lost, and every revision is published once."""
    locked = projection(locks=lambda changes: [Lock(name="sums", shared=True)])
    await asyncio.gather(*(apply(with_totals, locked, f"evt_{n}", paid(1, "pi_d")) for n in range(20)))
    assert await rows(with_totals, "SELECT amount, revision FROM totals WHERE reference = 'pi_d'") == [(20, 20)]
    assert await rows(with_totals, "SELECT count(*) FROM outbox_messages") == [(20,)]
