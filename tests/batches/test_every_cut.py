"""Of every service: batches of any cut of any shuffled and repeated events end where single messages end.

States in between may be skipped, and so is what follows only from them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from faststream.rabbit import RabbitRouter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.databases import migrated
from tests.ledger.payment_histories import histories, purchase

import checkout
import enrollment
import instructor_assignment
import milady_integration
import notifications
from checkout import consumers as checkout_consumers
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent
from enrollment import consumers as enrollment_consumers
from instructor_assignment import consumers as instructor_consumers
from kit.db.database import Database
from kit.messaging.batches import MAX_BATCH, Batches
from kit.messaging.subscriber import filters, handlers, subscribers_of
from milady_integration import consumers as milady_consumers
from notifications.consumers import consumers as notifications_consumers
from notifications.domain import Rules
from testkit import postgres_server as pg

START = datetime(2026, 10, 1, 12, tzinfo=UTC)
PURCHASE = (
    "INSERT INTO purchases (id, student_id, program_id, program_slug, program_name, covers, amount, currency, payer, "
    "payment_type, state, session_params) VALUES (:id, :student, 'prog-1', 'barber-apprenticeship', 'Barber', "
    "ARRAY['barber-apprenticeship'], 489000, 'usd', 'student', 'full', 'session_open', '{}')"
)
FACTS = "SELECT event_id, type, body::text FROM facts ORDER BY 1"


@dataclass(frozen=True)
class Case:
    """`rows`: by name, the rows that must be the same."""

    service: str
    package: Any
    router: RabbitRouter
    rows: Mapping[str, str]
    prepare: str | None = None


CASES = [
    Case(
        "enrollment",
        enrollment,
        enrollment_consumers.payments(),
        {
            "enrollments": "SELECT id, status, reason, payment_status, source, kind, purchase_id, funding_source"
            " FROM enrollments ORDER BY id"
        },
    ),
    Case(
        "instructor-assignment",
        instructor_assignment,
        instructor_consumers.payments(),
        {"desired": "SELECT id, desired_status, reason, purchase_id FROM ai_instructor_assignments ORDER BY id"},
    ),
    Case(
        "milady-integration",
        milady_integration,
        milady_consumers.payments(),
        {
            "enrollments": "SELECT id, standing, desired_state, reason, purchase_id FROM enrollments ORDER BY id",
            "programs": "SELECT program_slug FROM milady_programs ORDER BY 1",
        },
    ),
    Case(
        "checkout",
        checkout,
        checkout_consumers.payment_events(),
        {
            "payments": "SELECT refs, purchase_id, status, amount, refunded, disputed FROM payments ORDER BY 1",
            "refunds": "SELECT stripe_refund_id, amount, status FROM refunds ORDER BY 1",
            "disputes": "SELECT stripe_dispute_id, status FROM disputes ORDER BY 1",
            "purchases": "SELECT id, state FROM purchases ORDER BY id",
        },
        prepare=PURCHASE,
    ),
    Case("notifications", notifications, notifications_consumers(Rules()), {}),
]


class OneConnection(Database):
    """Its transactions are savepoints of one connection, so that everything can be rolled back."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        async with self.connection.begin_nested():
            yield self.connection


@dataclass(frozen=True)
class Result:
    rows: Mapping[str, Sequence[tuple[Any, ...]]]
    effects: frozenset[str]
    inbox: int


async def result_of(database: Database, case: Case, batches: Sequence[Sequence[Envelope[Any]]]) -> Result:
    (subscriber,) = [each for each in subscribers_of([case.router]) if each.queue.name.endswith(".payments")]
    async with database.engine.connect() as db, db.begin() as transaction:
        if case.prepare:
            for n in (1, 2):
                await db.execute(text(case.prepare), {"id": purchase(n), "student": uuid4()})
        queue = Batches(OneConnection(db), queue=subscriber.queue.name, service=case.service)
        for batch in batches:
            processed = (
                queue.process(each, handlers(subscriber)[each.type], filters(subscriber)[each.type]) for each in batch
            )
            await asyncio.gather(*processed)
        rows = {name: [tuple(row) for row in await db.execute(text(sql))] for name, sql in case.rows.items()}
        facts = [row for row in await db.execute(text(FACTS)) if row.type != "purchase.recorded.v1"]
        effects = "SELECT key FROM notifications" if case.service == "notifications" else "SELECT '' WHERE false"
        result = Result(
            rows={**rows, "facts": [tuple(row) for row in facts]},
            effects=frozenset(await db.scalars(text(effects))),
            inbox=await db.scalar(text("SELECT count(*) FROM inbox")) or 0,
        )
        await transaction.rollback()
    return result


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.service)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture(scope="module")
def migrated_database(case: Case, postgres_server: pg.PostgresServer) -> pg.Database:
    return migrated(postgres_server, f"cuts_{case.service.replace('-', '_')}", case.package.__file__)


@settings(
    max_examples=settings().max_examples // 5,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=histories(), sizes=st.lists(st.integers(1, 6), min_size=1, max_size=20), data=st.data())
async def test_any_cut_ends_where_single_messages_end(
    case: Case, migrated_database: pg.Database, history: dict[str, PaymentEvent], sizes: list[int], data: Any
) -> None:
    story = [
        Envelope(id=id, source="test", subject="x", time=START + timedelta(minutes=n // 2), data=event)
        for n, (id, event) in enumerate(history.items())
    ]
    again = data.draw(st.lists(st.sampled_from(story), max_size=3))
    shuffled = data.draw(st.permutations([*story, *again]))
    cut, rest = [], shuffled
    for size in sizes:
        cut.append(rest[:size])
        rest = rest[size:]
    database = Database(migrated_database.url, pool_size=1)
    try:
        single = await result_of(database, case, [[each] for each in story])
        batched = await result_of(database, case, [each for each in (*cut, rest) if each])
        whole = await result_of(database, case, [story[:MAX_BATCH], story[MAX_BATCH:]])
    finally:
        await database.close()
    assert single.inbox == batched.inbox == whole.inbox == len(story)
    assert batched.rows == single.rows
    assert whole.rows == single.rows
    assert whole.effects <= single.effects, "what the facts still ask for at the end"
    assert whole.effects <= batched.effects
