"""Consumers accept an event from a publisher of its type, and a retry only with the row that it comes from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from faststream.rabbit import RabbitRouter
from sqlalchemy import text
from tests.kit.events import paid
from tests.kit.subscriber_steps import dead, done, note
from tests.waiting import until

from contracts.envelope import Envelope
from contracts.payments import PaymentSucceeded
from contracts.people import Contact
from devstack.broker_rights import DEPLOYMENT, rights_of
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.jobs.jobs import Job
from kit.messaging.broker import Publisher
from kit.messaging.dead_letters import dead_letters
from kit.messaging.failed_messages import Schedules
from kit.messaging.outbox import OutgoingMessage, to_message
from kit.messaging.publishers import KEY_HEADER, PUBLISHER_HEADER
from kit.messaging.relay import Relay
from kit.messaging.runner import SubscriberRunner
from kit.messaging.subscriber import carries, subscriber
from kit.messaging.topology import Queue, declare_at
from kit.personal_data.declaration import Person, PersonalData
from kit.personal_data.erasure import erase
from kit.personal_data.erasure_requests import ErasureJob
from kit.runtime.backoff import Backoff
from kit.runtime.failures import Permanent
from testkit.rabbit_server import RabbitServer

SERVICE = "milady-integration"
SOON = Backoff(first=timedelta(milliseconds=100), longest=timedelta(milliseconds=200), attempts=4)


@dataclass
class Consumer:
    """A subscriber and a relay with the login of a service; `evt_retried` and `evt_refused` fail at first."""

    queue: Queue
    urls: dict[str, str]
    failures: int = 0

    async def handle(self, event: Envelope[PaymentSucceeded], uow: UnitOfWork) -> None:
        first = RuntimeError("once")
        failing: dict[str, list[Exception]] = {"evt_retried": [first], "evt_refused": [first, Permanent("no")]}
        if self.failures < len(errors := failing.get(event.id, [])):
            self.failures += 1
            raise errors[self.failures - 1]
        await note(event, uow)

    async def publish(self, login: str, message: OutgoingMessage) -> None:
        publisher = Publisher(self.urls[login], name="tests")
        await publisher.publish(message)
        await publisher.close()

    async def put(
        self, login: str, event: OutgoingMessage, *, user_id: str | None, dead: bool = False, **headers: Any
    ) -> None:
        """Puts a message into the queue, or among its dead letters, as anyone with this login's password can."""
        async with await aio_pika.connect(self.urls[login]) as connection:
            channel = await connection.channel(on_return_raises=True)
            message = aio_pika.Message(event.body, headers={**event.headers, **headers}, user_id=user_id)
            exchange = await channel.get_exchange(self.queue.exchange, ensure=False)
            await exchange.publish(message, self.queue.dead if dead else self.queue.name, mandatory=True)


@pytest.fixture
async def consumer(rabbit_server: RabbitServer, database: Database, request: Any) -> AsyncIterator[Consumer]:
    queue = Queue(f"{SERVICE}.tests-{uuid4().hex[:8]}", events=(PaymentSucceeded,))
    urls = rabbit_server.create_users([DEPLOYMENT, *map(rights_of, (SERVICE, "webhook-gateway", "notifications"))])
    consumer = Consumer(queue, urls)
    await declare_at(urls["deployment"], [queue])
    router = RabbitRouter()
    subscriber(router, queue)(consumer.handle, filter=carries(PaymentSucceeded))
    publisher = Publisher(urls[SERVICE], name="tests")
    running = SubscriberRunner(
        service=SERVICE,
        amqp_url=urls[SERVICE],
        database=database,
        publisher=publisher,
        queues=[queue],
        routers=[router],
        schedules=Schedules(SOON, SOON),
        accept_unsigned=getattr(request, "param", False),
    )
    stop = asyncio.Event()
    tasks = [asyncio.create_task(running.run(stop)), asyncio.create_task(Relay(database, publisher).run(stop))]
    try:
        await until(running.attached)
        yield consumer
    finally:
        stop.set()
        await asyncio.gather(*tasks)
        await publisher.close()


async def handled(database: Database, *ids: str) -> None:
    async def all_done() -> bool:
        return await done(database) == sorted(ids)

    await until(all_done)


async def refused(
    rabbit: RabbitServer,
    consumer: Consumer,
    publisher: str,
    *,
    what: str = PaymentSucceeded.type,
    letters: int = 1,
) -> None:
    async def all_dead() -> bool:
        return len(await dead(rabbit, consumer.queue.name)) == letters

    await until(all_dead)
    async with dead_letters(consumer.urls["deployment"], consumer.queue.name) as found:
        assert {letter.reason for letter in await found.letters()} == {f"Permanent: {publisher} may not publish {what}"}


async def test_a_retry_is_accepted_with_its_row_and_a_forged_one_is_not(
    rabbit_server: RabbitServer, database: Database, consumer: Consumer
) -> None:
    """The forged ones are as near as the broker's password gets: the genuine key with another event, or the genuine
    event with another id."""
    await consumer.publish("webhook-gateway", to_message(paid("evt_retried", source="webhook-gateway")))
    await handled(database, "evt_retried")
    assert consumer.failures == 1
    async with database.transaction() as db:
        query = "SELECT message_key, headers ->> :name FROM outbox_messages WHERE routing_key = :queue"
        named = {"name": PUBLISHER_HEADER, "queue": consumer.queue.name}
        ((key, first),) = (await db.execute(text(query), named)).all()
    assert first == "webhook-gateway"
    retried = to_message(paid("evt_retried", source="webhook-gateway"))
    same_body = OutgoingMessage(
        key="", exchange="", routing_key="", body=retried.body, headers={**retried.headers, "cloudEvents:id": "evt_2"}
    )
    for forged in (to_message(paid("evt_forged")), same_body):
        await consumer.put(SERVICE, forged, user_id=SERVICE, **{KEY_HEADER: key, PUBLISHER_HEADER: "webhook-gateway"})
    await refused(rabbit_server, consumer, SERVICE, letters=2)
    assert await done(database) == ["evt_retried"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {PUBLISHER_HEADER: "deployment"},
        {KEY_HEADER: "rescheduled/1", "x-death": "1"},
        {KEY_HEADER: "rescheduled/\x00"},
    ],
)
@pytest.mark.parametrize("user_id", [SERVICE, None])
async def test_a_service_cannot_forge_an_event_in_its_own_queue(
    rabbit_server: RabbitServer, database: Database, consumer: Consumer, headers: dict[str, Any], user_id: str | None
) -> None:
    await consumer.put(SERVICE, to_message(paid("evt_forged")), user_id=user_id, **headers)
    await refused(rabbit_server, consumer, user_id or "a publisher without user_id")
    assert await done(database) == []


async def test_a_message_that_is_no_event_is_not_looked_up(
    rabbit_server: RabbitServer, database: Database, consumer: Consumer
) -> None:
    """With the key of an outbox row, as a retry has one."""
    bad: dict[str, Any] = {KEY_HEADER: "rescheduled/1", "cloudEvents:id": bytearray(b"\xff")}
    await consumer.put(SERVICE, to_message(paid("evt_bad")), user_id=SERVICE, **bad)

    async def dead_lettered() -> bool:
        return len(await dead(rabbit_server, consumer.queue.name)) == 1

    await until(dead_lettered)
    async with dead_letters(consumer.urls["deployment"], consumer.queue.name) as found:
        (letter,) = await found.letters()
    assert letter.reason.startswith("BadEnvelope")
    assert letter.publisher == SERVICE


async def test_a_service_names_itself_as_the_source(
    rabbit_server: RabbitServer, database: Database, consumer: Consumer
) -> None:
    """Otherwise an audit record of one service, which all may publish, could blame an administrator of another."""
    await consumer.publish("webhook-gateway", to_message(paid("evt_blames", source="checkout")))
    await refused(rabbit_server, consumer, "webhook-gateway", what="as 'checkout'")
    assert await done(database) == []


async def test_a_header_with_further_routing_keys_does_not_get_past_the_check(
    rabbit_server: RabbitServer, database: Database, consumer: Consumer
) -> None:
    """Before RabbitMQ 4, topic permissions are not applied to CC and BCC."""
    event = to_message(paid("evt_copied"))
    delivered = 0
    for header in ("CC", "BCC"):
        async with await aio_pika.connect(consumer.urls["notifications"]) as connection:
            channel = await connection.channel(on_return_raises=True)
            message = aio_pika.Message(
                event.body, headers={**event.headers, header: [PaymentSucceeded.type]}, user_id="notifications"
            )
            exchange = await channel.get_exchange("bursar.events", ensure=False)
            try:
                await exchange.publish(message, "notification.sent.v1")
                delivered += 1
            except aio_pika.exceptions.ChannelClosed:
                pass
    if delivered:
        await refused(rabbit_server, consumer, "notifications", letters=delivered)
    assert await done(database) == []


@pytest.mark.parametrize("consumer", [True], indirect=True)
async def test_during_an_upgrade_events_without_publisher_can_be_accepted(
    database: Database, consumer: Consumer
) -> None:
    await consumer.put("deployment", to_message(paid("evt_unsigned")), user_id=None)
    await handled(database, "evt_unsigned")


async def test_a_replay_keeps_the_publisher_unless_the_operator_vouches(
    rabbit_server: RabbitServer, database: Database, consumer: Consumer
) -> None:
    await consumer.put(SERVICE, to_message(paid("evt_genuine_after_all")), user_id=None)
    await refused(rabbit_server, consumer, "a publisher without user_id")
    async with dead_letters(consumer.urls["deployment"], consumer.queue.name) as letters:
        assert await letters.replay(lambda _: True) == 1
    await refused(rabbit_server, consumer, "a publisher without user_id")
    assert await done(database) == []
    async with dead_letters(consumer.urls["deployment"], consumer.queue.name) as letters:
        assert await letters.replay(lambda _: True, vouch=True) == 1
    await handled(database, "evt_genuine_after_all")


async def test_a_genuine_dead_letter_is_replayed_and_a_forged_one_is_refused_again(
    rabbit_server: RabbitServer, database: Database, consumer: Consumer
) -> None:
    """The genuine one has the row that its service has written; the forged ones have all that the password allows."""
    await consumer.publish("webhook-gateway", to_message(paid("evt_refused", source="webhook-gateway")))

    async def dead_lettered() -> bool:
        return await dead(rabbit_server, consumer.queue.name) == ["evt_refused"]

    await until(dead_lettered)
    async with dead_letters(consumer.urls["deployment"], consumer.queue.name) as letters:
        (letter,) = await letters.letters()
        assert (letter.login, letter.publisher) == (SERVICE, "webhook-gateway")
        claims = {**letter.headers, "x-death": "1", "x-first-death-reason": "delivery_limit"}
        assert await letters.replay(lambda _: True) == 1
    await handled(database, "evt_refused")
    for id, user_id in (("evt_forged", SERVICE), ("evt_unsigned", None)):
        event = to_message(paid(id, source="webhook-gateway"))
        forged = {name: value for name, value in claims.items() if name not in event.headers}
        await consumer.put(SERVICE, event, user_id=user_id, dead=True, **forged)
        publisher = user_id or "a publisher without user_id"
        async with dead_letters(consumer.urls["deployment"], consumer.queue.name) as letters:
            assert await letters.replay(lambda _: True) == 1
        await refused(rabbit_server, consumer, publisher)
        async with dead_letters(consumer.urls["deployment"], consumer.queue.name) as letters:
            assert await letters.replay(lambda _: True) == 1, "again: it is a dead letter of the consumer now"
        await refused(rabbit_server, consumer, publisher)
        async with dead_letters(consumer.urls["deployment"], consumer.queue.name) as letters:
            assert await letters.discard(lambda _: True) == 1
    assert await done(database) == ["evt_refused"]


async def test_a_dead_letter_whose_person_was_erased_is_still_genuine(
    rabbit_server: RabbitServer, database: Database, consumer: Consumer
) -> None:
    event, student = paid("evt_refused", source="webhook-gateway"), uuid4()
    contact = Contact(email="vanish@example.com", name="Ann Vanish")
    named = replace(event, data=event.data.model_copy(update={"student_id": student, "contact": contact}))
    await consumer.publish("webhook-gateway", to_message(named))

    async def dead_lettered() -> bool:
        return await dead(rabbit_server, consumer.queue.name) == ["evt_refused"]

    await until(dead_lettered)
    publisher = Publisher(consumer.urls[SERVICE], name="tests")
    job = ErasureJob(PersonalData(), consumer.urls[SERVICE], publisher, [consumer.queue])
    payload = {"person_id": str(student), "identifiers": [str(student)], "request": "r", "number": 1}
    await job.perform(Job(id=uuid4(), kind="erasure", key="k", payload=payload, cause=None, attempt=1))
    await publisher.close()
    async with database.transaction() as db:
        await erase(db, PersonalData(), Person(id=student, identifiers=frozenset((str(student),))))
    async with dead_letters(consumer.urls["deployment"], consumer.queue.name) as letters:
        (letter,) = await letters.letters()
        assert b"Vanish" not in letter.body
        assert await letters.replay(lambda _: True) == 1
    await handled(database, "evt_refused")
