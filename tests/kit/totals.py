"""A projection for tests: the sum of the payments under each reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Column, DateTime, Integer, Table, Text, Uuid, text
from tests.deliveries import AT, envelope

from contracts.envelope import Envelope
from contracts.money import usd
from contracts.payments import PaymentEvent, PaymentRefs, PaymentSucceeded
from contracts.people import Program
from kit.db.database import Database, new_metadata
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.batches import Batches
from kit.messaging.event_facts import FactRules
from kit.messaging.projection import Change, Consequences, JobRequest, Projection, Publication
from kit.messaging.subscriber import projects
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
        rules=FactRules(keys=lambda event: event.refs.of_payment()),
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


async def apply(
    database: Database, projected: Projection[Total, Total], event_id: str, event: PaymentEvent
) -> Sequence[Change[Total]]:
    async with database.transaction() as db:
        uow = UnitOfWork(db=db, source="test", now=AT)
        return await projected.apply(uow, envelope(event_id, event))


async def process(queue: Batches, event: Envelope[Any], projected: Projection[Any, Any]) -> bool:
    async def apply(event: Envelope[Any], uow: UnitOfWork) -> None:
        await projected.apply(uow, event)

    return await queue.process(event, apply, projects(projected, PaymentSucceeded))


async def rows(database: Database, sql: str) -> list[tuple[Any, ...]]:
    async with database.transaction() as db:
        return [tuple(row) for row in await db.execute(text(sql))]
