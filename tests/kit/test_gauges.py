"""What operators watch is there from the start, and readiness says when an exchange or a queue is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aio_pika
import pytest
from faststream.rabbit import RabbitRouter
from prometheus_client import REGISTRY, generate_latest
from pydantic import SecretStr
from sqlalchemy import text
from tests.kit.events import paid
from tests.kit.subscriber_steps import note, to_queue
from tests.waiting import until

from contracts.payments import PaymentFailed, PaymentSucceeded
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.messaging.broker import Publisher
from kit.messaging.gauges import BACKLOG, Backlog, QueueDepths, watch_pools
from kit.messaging.outbox import to_message
from kit.messaging.subscriber import carries, subscriber
from kit.messaging.topology import Queue, declare_at
from kit.runtime.failures import Transient
from kit.runtime.service import WorkerSettings, consumers_process, relay_process
from testkit.postgres_server import Database as PostgresDatabase
from testkit.rabbit_server import RabbitServer


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def test_metrics_are_zero_and_not_absent_when_a_service_starts(
    prepared: PostgresDatabase, rabbit_server: RabbitServer, queue_name: str
) -> None:
    settings = WorkerSettings(database_url=SecretStr(prepared.url), amqp_url=SecretStr(rabbit_server.url))
    queue = Queue(queue_name, events=(PaymentSucceeded,))
    router = RabbitRouter()
    subscriber(router, queue)(note, filter=carries(PaymentSucceeded))
    spill = Queue(f"{queue_name}-spill")
    processes = [
        consumers_process("enrollment", settings, [router], [queue]),
        relay_process("enrollment", settings, {"tests.mail": None}, queues=[spill]),  # type: ignore[dict-item]
    ]
    lines = generate_latest().decode().splitlines()
    for outcome in ("handled", "duplicate", "rescheduled", "dead_lettered", "rejected", "requeued"):
        for type_ in ("payment.succeeded.v1", "unknown"):
            assert f'bursar_messages_total{{outcome="{outcome}",queue="{queue_name}",type="{type_}"}} 0.0' in lines
    assert f'bursar_unrecognized_events_total{{queue="{queue_name}"}} 0.0' in lines
    for name in (queue.name, queue.dead, spill.name, spill.dead):
        assert f'bursar_queue_messages{{queue="{name}"}} 0.0' in lines
    assert value("bursar_published_total", routing_key="enrollment.activated.v1") is not None
    assert value("bursar_publish_failures_total", reason="Unroutable") is not None
    assert value("bursar_due", table="outbox") is not None
    assert value("bursar_oldest_due_seconds", table="outbox") is not None
    for state in ("due", "waiting", "failed"):
        assert value("bursar_job_rows", state=state) is not None
    assert value("bursar_jobs_total", kind="tests.mail", outcome="failed") == 0
    for pool in ("consumers", "relay"):
        assert value("bursar_pool_connections", pool=pool, state="size") == settings.database_pool_size
        assert value("bursar_pool_connections", pool=pool, state="in use") == 0
    for process in processes:
        for close in process.close:
            await close()


async def test_the_backlog_is_measured(database: Database) -> None:
    backlog = Backlog(database, ["tests.mail"], ())
    await backlog.measure()
    assert value("bursar_oldest_due_seconds", table="outbox") == 0
    assert [value("bursar_job_rows", state=state) for state in ("due", "waiting", "failed")] == [0, 0, 0]
    async with database.transaction() as db:
        uow = UnitOfWork(db=db, source="tests", now=utc_now())
        await uow.publish(paid("evt_due").data, id="evt_due", subject="s")
        for key in ("due", "failed"):
            await uow.enqueue("tests.mail", key=key, payload={})
        await db.execute(text("UPDATE outbox_due SET available_at = now() - interval '90 seconds'"))
        await db.execute(text("UPDATE jobs SET failed_at = now() WHERE key = 'failed'"))
    await backlog.measure()
    assert value("bursar_due", table="outbox") == 1
    assert (value("bursar_oldest_due_seconds", table="outbox") or 0) >= 90
    assert [value("bursar_job_rows", state=state) for state in ("due", "waiting", "failed")] == [1, 0, 1]


async def test_a_pool_without_a_free_connection_is_measured(prepared: PostgresDatabase, queue_name: str) -> None:
    database = Database(prepared.url, pool_size=2)
    watch_pools(queue_name, database)
    assert [value("bursar_pool_connections", pool=queue_name, state=state) for state in ("size", "in use")] == [2, 0]
    async with database.transaction(), database.transaction():
        assert value("bursar_pool_connections", pool=queue_name, state="in use") == 2
    assert value("bursar_pool_connections", pool=queue_name, state="in use") == 0
    await database.close()


async def test_measuring_reads_no_table(database: Database) -> None:
    """Indexes answer, however many rows are done or wait."""
    async with database.transaction() as db:
        await db.execute(
            text(
                "INSERT INTO jobs (kind, key, payload, done_at, failed_at, available_at)"
                " SELECT 'k', n::text, '{}', CASE WHEN n % 10 > 1 THEN now() END, CASE WHEN n % 100 = 1 THEN now() END,"
                " now() + n * interval '1 second' - interval '1 hour' FROM generate_series(1, 50000) AS n"
            )
        )
        await db.execute(
            text(
                "INSERT INTO outbox_due (id, month, available_at)"
                " SELECT n, '2026-11-01', now() + n * interval '1 second' FROM generate_series(1, 20000) AS n"
            )
        )
        await db.execute(text("ANALYZE jobs, outbox_due"))
        plan = "\n".join(await db.scalars(text(f"EXPLAIN {BACKLOG}")))
    assert "Seq Scan" not in plan, plan
    assert "Sort" not in plan, plan
    async with database.transaction() as db:
        await db.execute(text("TRUNCATE jobs, outbox_due"))


async def test_depths_of_queues_and_what_is_missing(
    rabbit_server: RabbitServer, publisher: Publisher, queue_name: str
) -> None:
    queue = Queue(queue_name, events=(PaymentFailed,))
    await declare_at(rabbit_server.url, [queue])
    for name in (queue.dead, queue.name, queue.name):
        await publisher.publish(to_queue(to_message(paid("evt_waits")), name))
    depths = QueueDepths(rabbit_server.url, [queue])

    async def counted() -> bool:
        await depths.measure()
        return value("bursar_queue_messages", queue=queue.dead) == 1

    await until(counted)
    assert value("bursar_queue_messages", queue=queue.name) == 2, "nobody consumes"
    await depths.check()
    await delete(rabbit_server, [queue.dead], queue.exchange)
    await depths.measure()
    with pytest.raises(Transient, match=f"{queue.exchange}, {queue.dead}"):
        await depths.check()
    await declare_at(rabbit_server.url, [queue])
    await depths.measure()
    await depths.check()
    stop = asyncio.Event()
    stop.set()
    await depths.run(stop)


async def delete(rabbit: RabbitServer, queues: Sequence[str], exchange: str) -> None:
    connection = await aio_pika.connect(rabbit.url)
    async with connection:
        channel = await connection.channel()
        for queue in queues:
            await channel.queue_delete(queue)
        await channel.exchange_delete(exchange)
