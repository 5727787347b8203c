"""The sweeps of checkout use an index however many purchases there are."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import cast
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import select, text
from tests.databases import api_database, migrated
from tests.plans import faults_of, recorded

import checkout
from checkout.erasures.repository import identifiers
from checkout.installments.clock import Clock
from checkout.installments.open_invoices import open_installments
from checkout.installments.timer import Timer
from checkout.purchases.lost_events import OLD_CHECKS, LostEvents, open_purchases
from checkout.purchases.tables import purchases
from checkout.stripe_client import Stripe
from kit.db.database import Database
from kit.db.unit_of_work import utc_now
from testkit import postgres_server as pg

ROWS = """
    INSERT INTO purchases (id, student_id, program_id, program_slug, program_name, covers, amount, currency, payer,
        payment_type, payment_flow, state, stripe_checkout_session_id, expires_at, created_at)
    SELECT gen_random_uuid(), gen_random_uuid(), 'p', 'p', 'P', '{p}', 100, 'usd', 'student', 'plan',
        CASE WHEN n % 2 = 0 THEN 'installments' ELSE 'page' END,
        CASE WHEN n % 500 = 0 THEN 'awaiting_payment' WHEN n % 499 = 0 THEN 'session_open' ELSE 'paid' END,
        'cs_' || n, now() - interval '1 h', now() - interval '1 min' * (n % 100000)
    FROM generate_series(1, 100000) AS n;
    INSERT INTO installments (purchase_id, student_id, position, kind, amount, currency, due_at, status,
        next_attempt_at, stripe_invoice_id)
    SELECT id, student_id, position, 'installment', 25, 'usd', now(),
        CASE WHEN position = 1 THEN 'paid' ELSE 'open' END, now() + interval '1 min' * random() * 100000,
        CASE WHEN position = 1 THEN 'in_' || id END
    FROM purchases CROSS JOIN generate_series(1, 3) AS position WHERE state = 'paid';
    INSERT INTO stripe_checks (object_id, checks, next_at)
    SELECT 'cs_' || n, 1, now() - interval '1 min' * n FROM generate_series(1, 100000) AS n;
    INSERT INTO facts (event_id, group_id, type, time, body)
    SELECT 'evt_' || n, md5(n::text)::uuid, 'payment.succeeded.v1', now(), jsonb_build_object(
        'student_id', md5('s' || n)::uuid, 'refs', jsonb_build_object('customer', 'cus_000' || n))
    FROM generate_series(1, 100000) AS n;
    INSERT INTO fact_keys (key, group_id) SELECT 'pi_000' || n, md5(n::text)::uuid FROM generate_series(1, 100000) AS n;
    ANALYZE
"""


@pytest.fixture(scope="module")
async def large(postgres_server: pg.PostgresServer) -> AsyncIterator[pg.Database]:
    created = await asyncio.to_thread(migrated, postgres_server, "checkout_plans", checkout.__file__)
    connection = await asyncpg.connect(created.owner_url)
    await connection.execute(ROWS)
    await connection.close()
    yield created
    postgres_server.drop_database("checkout_plans")


async def test_no_sweep_reads_or_sorts_a_large_table(large: pg.Database) -> None:
    database = Database(large.url)
    no_stripe = cast("Stripe", None)
    lost_events = LostEvents(database, no_stripe, [open_purchases(), open_installments()])
    async with recorded(database) as looked_for:
        assert len(await lost_events._take(utc_now())) == 50
    async with recorded(database) as executed:
        await Timer(database, Clock(database, enabled=False)).sweep()
        async with database.transaction() as db:
            ended = await db.execute(text(OLD_CHECKS.statement), {"keep": timedelta(days=7), "chunk": 1000})
    assert ended.rowcount == 1000
    assert await faults_of(large.owner_url, executed) == []
    faults = await faults_of(large.owner_url, looked_for)
    assert [fault for fault in faults if fault.startswith("reads")] == [], "what is open is sorted, and nothing else"
    await database.close()


async def test_an_erasure_reads_no_large_table_while_consumers_wait(large: pg.Database) -> None:
    """Also where only a fact names the student's customer, and all facts are asked whether it is another's, too."""
    database = Database(large.url)
    student = UUID(hashlib.md5(b"s7", usedforsecurity=False).hexdigest())
    async with database.transaction() as db:
        await db.execute(
            text(
                "UPDATE purchases SET student_id = :id, stripe_payment_intent_id = 'pi_0007' WHERE id = ("
                "SELECT id FROM purchases LIMIT 1)"
            ),
            {"id": student},
        )
    async with recorded(database) as executed, database.transaction() as db:
        assert "cus_0007" in await identifiers(db, student)
    assert await faults_of(large.owner_url, executed) == []
    await database.close()


async def test_policies_find_a_students_purchases_by_an_index(large: pg.Database) -> None:
    """Of the student, by a pay link, by a checkout session, and by a sponsor's link: the policies are alternatives, so
    one without an index would read all purchases in each request."""
    owner = await asyncpg.connect(large.owner_url)
    await owner.execute(
        "UPDATE purchases SET payer = 'sponsor', funding_source = right(id::text, 2)"
        " WHERE id < '55555555-0000-0000-0000-000000000000'"
    )
    await owner.execute("ANALYZE purchases")
    await owner.close()
    database = api_database(large)
    async with recorded(database) as executed, database.transaction_of(student_id=UUID(int=1), role="student") as db:
        assert (await db.execute(select(purchases.c.id))).all() == []
    assert await faults_of(large.api_url, executed) == []
    await database.close()
