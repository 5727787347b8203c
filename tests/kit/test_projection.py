"""Projections on a real database: what is written, published, locked and done again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid5

import pytest
from sqlalchemy import Column, DateTime, Integer, Table, Text, Uuid, text
from tests.deliveries import AT, envelope

from contracts.money import usd
from contracts.payments import PaymentEvent, PaymentRefs, PaymentSucceeded
from contracts.people import Program
from kit.db.database import Database, new_metadata
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.projection import Change, Consequences, JobRequest, Lock, Projection, Publication
from kit.messaging.topology import Queue

NAMESPACE = UUID(int=7)
totals = Table(
    "totals",
    new_metadata(),
    Column("id", Uuid, primary_key=True),
    Column("reference", Text, nullable=False),
    Column("amount", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)


@dataclass(frozen=True, kw_only=True)
class Total:
    id: UUID
    reference: str
    amount: int
    revision: int = 0


def wanted(facts: Mapping[str, PaymentSucceeded]) -> dict[UUID, Total]:
    """The sum for each reference that was ever named."""
    found: dict[UUID, Total] = {}
    for fact in facts.values():
        for reference in sorted(fact.refs.of_payment()):
            row = found.setdefault(
                uuid5(NAMESPACE, reference), Total(id=uuid5(NAMESPACE, reference), reference=reference, amount=0)
            )
            found[row.id] = replace(row, amount=row.amount + fact.amount.amount)
    return found


def becomes(before: Total | None, wanted: Total) -> Total:
    after = replace(wanted, revision=before.revision if before else 0)
    return after if after == before else replace(after, revision=after.revision + 1)


def consequences(before: Total | None, after: Total) -> Consequences:
    event = PaymentSucceeded(refs=PaymentRefs(manual=after.reference), amount=usd(after.amount))
    return Consequences(
        events=(Publication(event=event, id=f"{after.id}/{after.revision}", subject="test"),),
        jobs=(JobRequest(kind="report", key=f"{after.id}/{after.revision}", payload={"amount": after.amount}),),
    )


@dataclass
class Steps:
    """The second step: remembers what it saw."""

    changes: list[tuple[str, int | None, int]] = field(default_factory=list)

    async def note(self, uow: UnitOfWork, changes: Sequence[Change[Total]]) -> None:
        self.changes += [
            (each.after.reference, each.before.amount if each.before else None, each.after.amount) for each in changes
        ]


def projection(steps: Steps | None = None, *, locks: Any = None) -> Projection[Total, Total]:
    return Projection(
        queue=Queue("test.totals", events=(PaymentSucceeded,)),
        table=totals,
        row=Total,
        keys=lambda event: event.refs.of_payment(),
        implied_keys=lambda facts: frozenset(),
        wanted=wanted,
        becomes=becomes,
        consequences=consequences,
        locks=locks,
        then=steps.note if steps else None,
    )


def paid(amount: int, *references: str) -> PaymentEvent:
    intent, charge = (*references, None)[:2]
    return PaymentSucceeded(
        refs=PaymentRefs(payment_intent=intent, charge=charge),
        amount=usd(amount),
        program=Program(slug="barber", id="1"),
    )


@pytest.fixture
async def with_totals(database: Database) -> AsyncIterator[Database]:
    async with database.transaction() as db:
        await db.run_sync(totals.metadata.create_all)
    yield database
    async with database.transaction() as db:
        await db.run_sync(totals.metadata.drop_all)


async def apply(
    database: Database, projected: Projection[Total, Total], event_id: str, event: PaymentEvent
) -> Sequence[Change[Total]]:
    async with database.transaction() as db:
        uow = UnitOfWork(db=db, source="test", now=AT)
        return await projected.apply(uow, envelope(event_id, event))


async def rows(database: Database, sql: str) -> list[tuple[Any, ...]]:
    async with database.transaction() as db:
        return [tuple(row) for row in await db.execute(text(sql))]


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
    assert await rows(with_totals, "SELECT count(*) FROM outbox") == [(3,)]
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
    assert await rows(with_totals, "SELECT count(*) FROM outbox") == [(20,)]
