"""Broker down, database down, both down: an event that was answered with 200 is never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from tests.waiting import until
from tests.webhook_gateway import stripe_events as stripe
from tests.webhook_gateway.harness import PUBLISHED, Gateway, running

from kit.messaging.topology import declare_at
from testkit.postgres_server import PostgresServer
from testkit.rabbit_server import RabbitServer
from testkit.servers import postgres, rabbitmq
from webhook_gateway.topology import SPILL

pytestmark = pytest.mark.server  # starts servers of its own


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    with postgres(durable=True) as server:
        yield server


@pytest.fixture(scope="module")
def own_rabbit() -> Iterator[RabbitServer]:
    with rabbitmq(durable=True) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(own_postgres: PostgresServer, own_rabbit: RabbitServer) -> Iterator[Gateway]:
    with running(own_postgres, own_rabbit, "gateway_outages") as started:
        yield started


async def all_received(gateway: Gateway, ids: set[str], seen: set[str]) -> bool:
    seen |= {envelope.id.split("/")[0] for envelope in await gateway.published()}
    return ids <= seen


async def all_published(gateway: Gateway, ids: set[str]) -> bool:
    journal = await gateway.journal()
    return all(journal.get(id) == 1 for id in ids)


async def spilled(gateway: Gateway) -> bool:
    return f'bursar_queue_messages{{queue="{SPILL.name}"}} 10.0' in await gateway.metrics(gateway.relay)


def payments(count: int) -> list[dict[str, object]]:
    return [stripe.event("payment_intent.succeeded", stripe.intent()) for _ in range(count)]


async def test_with_the_broker_down_events_are_journaled_and_published_later(
    gateway: Gateway, own_rabbit: RabbitServer
) -> None:
    await declare_at(gateway.amqp_url, [PUBLISHED])
    events = payments(20)
    ids = {str(event["id"]) for event in events}
    own_rabbit.stop()
    try:
        assert [await gateway.deliver(event) for event in events] == [200] * 20
        assert all(count is None for id, count in (await gateway.journal()).items() if id in ids)
    finally:
        own_rabbit.start()
    seen: set[str] = set()
    await until(lambda: all_received(gateway, ids, seen), seconds=30, what="all events on the bus")
    await until(lambda: all_published(gateway, ids), what="all rows marked")


async def test_with_the_database_down_events_are_published_and_journaled_later(
    gateway: Gateway, own_postgres: PostgresServer
) -> None:
    await declare_at(gateway.amqp_url, [PUBLISHED])
    await gateway.published()
    events = payments(10)
    ids = {str(event["id"]) for event in events}
    own_postgres.stop()
    try:
        assert [await gateway.deliver(event) for event in events] == [200] * 10
        seen: set[str] = set()
        await until(lambda: all_received(gateway, ids, seen), what="published while the database is down")
        await until(lambda: spilled(gateway), seconds=30, what="a measured spill")
    finally:
        own_postgres.start()
    await until(lambda: all_published(gateway, ids), seconds=30, what="journaled afterward")


async def test_every_delivery_is_answered_while_connections_are_terminated(
    gateway: Gateway, own_postgres: PostgresServer
) -> None:
    """The database connection breaks in the middle of a statement, repeatedly."""
    events = payments(300)

    async def terminate() -> None:
        admin = await asyncpg.connect(own_postgres.admin_url)
        try:
            for _ in range(15):
                await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE '%_api'")
                await asyncio.sleep(0.05)
        finally:
            await admin.close()

    async with asyncio.timeout(60):
        terminating = asyncio.create_task(terminate())
        statuses = await asyncio.gather(*(gateway.deliver(event) for event in events))
        await terminating
    assert set(statuses) == {200}
    await until(lambda: all_published(gateway, {str(event["id"]) for event in events}), seconds=30)


async def test_with_both_down_the_answer_is_503(
    gateway: Gateway, own_postgres: PostgresServer, own_rabbit: RabbitServer
) -> None:
    (event,) = payments(1)
    own_postgres.stop()
    own_rabbit.stop()
    try:
        assert await gateway.deliver(event) == 503
    finally:
        own_postgres.start()
        own_rabbit.start()

    async def accepted() -> bool:
        return await gateway.deliver(event) == 200

    await until(accepted, seconds=30, what="accepted after both are back")
    await until(lambda: all_published(gateway, {str(event["id"])}), seconds=30)


async def test_killing_the_relay_loses_nothing(gateway: Gateway) -> None:
    await declare_at(gateway.amqp_url, [PUBLISHED])
    await gateway.published()
    events = payments(100)
    ids = {str(event["id"]) for event in events}
    for number, event in enumerate(events):
        assert await gateway.deliver(event) == 200
        if number == 50:
            gateway.relay.kill()
    gateway.relay.start()
    seen: set[str] = set()
    await until(lambda: all_received(gateway, ids, seen), seconds=30)
    await until(lambda: all_published(gateway, ids), seconds=30)
