"""The spill queue: keeps its events through any number of redeliveries, and until the journal has them."""

from __future__ import annotations

import asyncio

import aio_pika
import asyncpg
import pytest
from tests.databases import migrated
from tests.kit.raw_messages import RawProperties, send
from tests.waiting import until
from tests.webhook_gateway import stripe_events as stripe
from tests.webhook_gateway.stripe_events import body_of, sign

import webhook_gateway
from kit.messaging.broker import Publisher
from kit.messaging.dead_letters import dead_letters
from kit.messaging.publishers import PUBLISHER_HEADER, login_of
from kit.messaging.topology import REDELIVERY_LIMIT, declare_at
from testkit.postgres_server import Database, PostgresServer
from testkit.rabbit_server import RabbitServer
from webhook_gateway.event import StripeEvent, parse_event
from webhook_gateway.journal import Journal
from webhook_gateway.spill import SpillDrain, spilled
from webhook_gateway.tables import Source
from webhook_gateway.topology import SPILL


def delivered() -> StripeEvent:
    body = body_of(stripe.event("payment_intent.succeeded", stripe.intent()))
    return parse_event(body, signature=sign(body))


async def spill(amqp_url: str, *events: StripeEvent) -> None:
    await declare_at(amqp_url, [SPILL])
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        await (await (await connection.channel()).get_queue(SPILL.name)).purge()
    publisher = Publisher(amqp_url, name="tests")
    await asyncio.gather(*(publisher.publish(spilled(event)) for event in events))
    await publisher.close()


async def waiting(amqp_url: str) -> int:
    """Messages that no consumer has taken."""
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        declared = await (await connection.channel()).declare_queue(SPILL.name, passive=True)
        return declared.declaration_result.message_count or 0


async def test_a_long_database_outage_dead_letters_nothing(rabbit_server: RabbitServer) -> None:
    """More redeliveries than any other queue allows: each time the drain loses the journal is one."""
    event = delivered()
    await spill(rabbit_server.url, event)
    connection = await aio_pika.connect(rabbit_server.url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.get_queue(SPILL.name)
        for _ in range(REDELIVERY_LIMIT + 10):
            message = await queue.get(timeout=5)
            await message.nack(requeue=True)
        message = await queue.get(timeout=5)
        assert message.body == event.body
        await message.ack()


@pytest.fixture(scope="module")
def created(postgres_server: PostgresServer) -> Database:
    return migrated(postgres_server, "gateway_spill", webhook_gateway.__file__)


async def test_a_spilled_event_leaves_the_broker_when_the_journal_has_it(
    created: Database, rabbit_server: RabbitServer
) -> None:
    """The drain dies after it has taken the messages, and before their commit."""
    events = [delivered() for _ in range(30)]
    await spill(rabbit_server.url, *events)
    owner = await asyncpg.connect(created.owner_url)

    async def is_blocked() -> bool:
        return bool(
            await owner.fetchval(
                "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_class ON pg_class.oid = relation "
                "WHERE NOT granted AND relname = 'journal_entries')"
            )
        )

    locked = owner.transaction()
    await locked.start()
    await owner.execute("LOCK TABLE journal_entries IN ACCESS EXCLUSIVE MODE")
    first = Journal(created.url)
    dying = asyncio.create_task(SpillDrain(rabbit_server.url, first, first).run(asyncio.Event()))
    await until(is_blocked, what="the drain writes")

    async def are_taken() -> bool:
        return await waiting(rabbit_server.url) == 0

    await until(are_taken, what="the drain has all messages")
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)

    async def are_back() -> bool:
        return await waiting(rabbit_server.url) == len(events)

    await until(are_back, what="all messages are in the queue again")
    await locked.rollback()

    journal, unsigned = Journal(created.url), Journal(created.url, source=Source.PREVIOUS)
    stop = asyncio.Event()
    drain = asyncio.create_task(SpillDrain(rabbit_server.url, journal, unsigned).run(stop))

    async def are_journaled() -> bool:
        signed = "SELECT count(*) FROM journal_events WHERE source = 'webhook' AND signature IS NOT NULL"
        return bool(await owner.fetchval(signed) == len(events))

    await until(are_journaled)
    await until(are_taken)
    stop.set()
    await drain
    for each in (first, journal, unsigned):
        await each.close()
    await owner.close()


async def test_a_message_that_cannot_be_decoded_does_not_stop_the_drain(
    created: Database, rabbit_server: RabbitServer
) -> None:
    await spill(rabbit_server.url)
    bad = RawProperties(correlation_id=b"\x02\xff\xfe")
    await send(rabbit_server.url, b"{}", bad, exchange=SPILL.exchange, routing_key=SPILL.name.encode())
    event = delivered()
    publisher = Publisher(rabbit_server.url, name="tests")
    await publisher.publish(spilled(event))
    journal = Journal(created.url)
    stop = asyncio.Event()
    drain = asyncio.create_task(SpillDrain(rabbit_server.url, journal, journal).run(stop))
    owner = await asyncpg.connect(created.owner_url)

    async def is_journaled() -> bool:
        return bool(await owner.fetchval("SELECT count(*) FROM journal_events WHERE event_id = $1", event.id))

    await until(is_journaled)
    async with dead_letters(rabbit_server.url, SPILL.name) as letters:

        async def is_dead_lettered() -> bool:
            return "correlation_id is not UTF-8" in [each.reason.partition(": ")[2] for each in await letters.letters()]

        await until(is_dead_lettered)
        await letters.discard(lambda _: True)
    stop.set()
    await drain
    for close in (owner.close, journal.close, publisher.close):
        await close()


async def test_an_event_without_signature_is_believed_only_if_the_deployment_has_moved_it(
    created: Database, rabbit_server: RabbitServer
) -> None:
    """Events of a version that kept no signature. Anyone with the gateway's password can write to the queue, too, and
    a replay of what they wrote is the deployment's message in their name."""
    await spill(rabbit_server.url)
    moved, forged, replayed = delivered(), delivered(), delivered()
    journal, unsigned = Journal(created.url), Journal(created.url, source=Source.PREVIOUS)
    async with await aio_pika.connect(rabbit_server.url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(SPILL.exchange)
        dead = await channel.get_queue(SPILL.dead)
        await dead.purge()
        own = login_of(rabbit_server.url)
        vouched = aio_pika.Message(moved.body, user_id=own)
        named = aio_pika.Message(replayed.body, user_id=own, headers={PUBLISHER_HEADER: "webhook-gateway"})
        for message in (aio_pika.Message(forged.body), named, vouched):
            await exchange.publish(message, SPILL.name)
        stop = asyncio.Event()
        drain = asyncio.create_task(SpillDrain(rabbit_server.url, journal, unsigned).run(stop))
        refused: set[bytes] = set()
        async with asyncio.timeout(60):
            while len(refused) < 2:
                if (letter := await dead.get(timeout=10, fail=False)) is not None:
                    refused.add(letter.body)
                    await letter.ack()
        assert refused == {forged.body, replayed.body}
        owner = await asyncpg.connect(created.owner_url)

        async def is_journaled() -> bool:
            return bool(await owner.fetchval("SELECT count(*) FROM journal_events WHERE event_id = $1", moved.id))

        await until(is_journaled)
        others_ids = [forged.id, replayed.id]
        assert not await owner.fetchval("SELECT count(*) FROM journal_events WHERE event_id = ANY ($1)", others_ids)
        await owner.close()
        stop.set()
        await drain
    for each in (journal, unsigned):
        await each.close()
