"""The service as it runs: two consumer processes and a relay on a real broker."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import aio_pika
import pytest
from tests.databases import logins
from tests.deliveries import envelope
from tests.enrollment.harness import Buyer, Service, curriculum
from tests.processes import RunningRole, declare_consumer_of, migrate
from tests.waiting import until

from contracts.enrollment import EnrollmentCompleted
from contracts.envelope import Event, parse
from contracts.registry import EVENT_TYPES
from enrollment.topology import QUEUES
from kit.messaging.broker import Publisher
from kit.messaging.outbox import to_message
from kit.messaging.topology import Queue, declare_at
from testkit.postgres_server import Database
from testkit.processes import stop_all, wait_all_ready
from testkit.rabbit_server import RabbitServer

PUBLISHED = Queue("test.enrollment-published", events=(EnrollmentCompleted,))


@pytest.mark.usefixtures("no_old_messages")
async def test_tracks_are_paid_started_and_completed_in_any_order(
    service: Service, enrollment_database: Database, rabbit_server: RabbitServer
) -> None:
    env = {**logins(enrollment_database), "AMQP_URL": rabbit_server.url}
    migrate("enrollment", env)
    await declare_at(rabbit_server.url, [PUBLISHED])
    await declare_consumer_of("enrollment", rabbit_server.url)
    running = [RunningRole("enrollment", role, env).start() for role in ("consumers", "consumers", "relay")]
    publisher = Publisher(rabbit_server.url, name="test")
    buyers = [Buyer() for _ in range(20)]
    events: list[Event] = [buyer.paid() for buyer in buyers]
    events[10:10] = [curriculum(), curriculum(revision=2)]
    envelopes = [envelope(f"evt_{uuid4()}", event) for event in events]
    try:
        await asyncio.gather(*(publisher.publish(to_message(each)) for each in envelopes + envelopes))
        wait_all_ready(running)

        async def started() -> bool:
            found = await service.rows("SELECT count(*) AS n FROM project_progress")
            return bool(found[0]["n"] == 2 * len(buyers))

        await until(started, seconds=30)
        for buyer in buyers[:3]:
            await service.does_all(buyer)

        async def published() -> bool:
            return not await service.rows("SELECT 1 FROM outbox_due")

        await until(published)
    finally:
        stop_all(running)
        await publisher.close()

    fields = []
    connection = await aio_pika.connect(rabbit_server.url)
    async with connection:
        channel = await connection.channel()
        for own in QUEUES:  # duplicates that were not consumed: other tests use this broker, too
            await (await channel.get_queue(own.name)).purge()
        queue = await channel.get_queue(PUBLISHED.name)
        while (message := await queue.get(fail=False, no_ack=True)) is not None:
            event = parse(message.headers, message.body, EVENT_TYPES).data
            assert isinstance(event, EnrollmentCompleted)
            fields.append(event.enrollment_id)
    assert sorted(fields) == sorted(buyer.enrollment_id for buyer in buyers[:3])
