"""Declaring the topology on a real broker: changed arguments, bindings that nobody wants, and what was interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import aio_pika
import aiormq
import pytest
from aio_pika.abc import AbstractChannel
from tests.kit.events import paid

from contracts.payments import PaymentFailed, PaymentSucceeded
from kit.messaging import shovel, topology
from kit.messaging.broker import Publisher
from kit.messaging.outbox import EVENTS_EXCHANGE, to_message
from kit.messaging.publishers import PUBLISHER_HEADER
from kit.messaging.topology import NotDeclared, Queue, QueueInUse, check_declared, declare_at
from testkit.rabbit_server import RabbitServer


@pytest.fixture
async def channel(rabbit_server: RabbitServer) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(rabbit_server.url) as connection:
        yield await connection.channel()


async def take_all(channel: AbstractChannel, name: str) -> list[aio_pika.abc.AbstractIncomingMessage]:
    queue = await channel.get_queue(name)
    found = []
    while (message := await queue.get(fail=False, no_ack=True)) is not None:
        found.append(message)
    return found


def ids(messages: list[aio_pika.abc.AbstractIncomingMessage]) -> list[Any]:
    return [message.headers["cloudEvents:id"] for message in messages]


async def declare_legacy(channel: AbstractChannel, queue: Queue) -> None:
    """As a version declared it that dead-lettered through the default exchange."""
    declared = await channel.declare_queue(queue.name, durable=True, arguments=queue.legacy_arguments[0])
    await declared.bind(
        await channel.declare_exchange(EVENTS_EXCHANGE, "topic", durable=True), routing_key=PaymentSucceeded.type
    )


async def test_a_queue_is_reached_by_its_events_and_by_its_name(
    rabbit_server: RabbitServer, publisher: Publisher, channel: AbstractChannel, queue_name: str
) -> None:
    queue = Queue(queue_name, events=(PaymentSucceeded,))
    await declare_at(rabbit_server.url, [queue])
    event = to_message(paid("evt_1"))
    await publisher.publish(event)
    await publisher.publish(replace(event, exchange=queue.exchange, routing_key=queue.name))
    await publisher.publish(replace(event, exchange=queue.exchange, routing_key=queue.dead))
    assert len(await take_all(channel, queue.name)) == 2
    assert len(await take_all(channel, queue.dead)) == 1


async def test_declaring_causes_no_error_at_the_broker(
    rabbit_server: RabbitServer, queue_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would close the channel, and log an error that alarms those who install."""
    closed = list[str]()
    on_close = aiormq.Channel._on_close_frame

    async def note(channel: aiormq.Channel, frame: aiormq.spec.Channel.Close) -> None:
        closed.append(frame.reply_text)
        await on_close(channel, frame)

    monkeypatch.setattr(aiormq.Channel, "_on_close_frame", note)
    for _ in range(2):
        await declare_at(rabbit_server.url, [Queue(queue_name, events=(PaymentSucceeded,))])
    assert closed == []


async def test_a_binding_that_is_no_longer_wanted_is_removed(
    rabbit_server: RabbitServer, publisher: Publisher, channel: AbstractChannel, queue_name: str
) -> None:
    await declare_at(rabbit_server.url, [Queue(queue_name, events=(PaymentSucceeded, PaymentFailed))])
    await declare_at(rabbit_server.url, [Queue(queue_name, events=(PaymentFailed,))])
    await publisher.publish(to_message(paid("evt_unwanted")))
    assert await take_all(channel, queue_name) == []


@pytest.mark.parametrize("before", ["legacy", "limit"])
async def test_a_queue_with_other_arguments_is_replaced_and_keeps_its_messages(
    rabbit_server: RabbitServer, publisher: Publisher, channel: AbstractChannel, queue_name: str, before: str
) -> None:
    queue = Queue(queue_name, events=(PaymentSucceeded,))
    if before == "legacy":
        await declare_legacy(channel, queue)
    else:
        await declare_at(rabbit_server.url, [replace(queue, redelivery_limit=7)])
    for n in range(250):
        await publisher.publish(to_message(paid(f"evt_{n:03}")))
    await asyncio.gather(declare_at(rabbit_server.url, [queue]), declare_at(rabbit_server.url, [queue]))
    await publisher.publish(to_message(paid("evt_after")))
    await declare_at(rabbit_server.url, [queue])
    assert ids(await take_all(channel, queue_name)) == [*(f"evt_{n:03}" for n in range(250)), "evt_after"]
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await channel.get_queue(queue.moving)


Stop = Callable[..., Awaitable[Any]]


@pytest.mark.parametrize("step", ["_bind", "_unbind", "move", "is_idle", "_declare", "_finish"])
async def test_an_interrupted_replacement_is_finished_by_the_next_one(
    rabbit_server: RabbitServer,
    publisher: Publisher,
    channel: AbstractChannel,
    queue_name: str,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    """Interrupted right after the step was taken for the last time that matters."""
    queue = Queue(queue_name, events=(PaymentSucceeded,))
    await declare_legacy(channel, queue)
    for n in range(30):
        await publisher.publish(to_message(paid(f"evt_{n:02}")))
    module = topology if hasattr(topology, step) else shovel
    original: Stop = getattr(module, step)
    calls = 0

    async def interrupted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        result = await original(*arguments, **named)
        if step != "_declare" or (calls > 3 and result):  # the one after the deletion
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(module, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        await declare_at(rabbit_server.url, [queue])
    monkeypatch.undo()
    await publisher.publish(to_message(paid("evt_between")))
    await declare_at(rabbit_server.url, [queue])
    assert set(ids(await take_all(channel, queue_name))) == {*(f"evt_{n:02}" for n in range(30)), "evt_between"}
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        await channel.get_queue(queue.moving)


async def test_a_queue_with_consumers_is_not_replaced(
    rabbit_server: RabbitServer, publisher: Publisher, channel: AbstractChannel, queue_name: str
) -> None:
    """What they have not acknowledged would be lost. It is replaced as soon as they are stopped."""
    queue = Queue(queue_name, events=(PaymentSucceeded,))
    await declare_legacy(channel, queue)
    await publisher.publish(to_message(paid("evt_held")))
    held = asyncio.Event()

    async def took(_: object) -> None:
        held.set()

    await (await channel.get_queue(queue_name)).consume(took)
    await held.wait()
    with pytest.raises(QueueInUse, match="stop them"):
        await declare_at(rabbit_server.url, [queue], wait_seconds=0)
    replacing = asyncio.create_task(declare_at(rabbit_server.url, [queue]))
    await asyncio.sleep(0.5)
    assert not replacing.done()
    await channel.close()
    await replacing
    async with await aio_pika.connect(rabbit_server.url) as connection:
        assert ids(await take_all(await connection.channel(), queue_name)) == ["evt_held"]


async def test_a_moved_message_keeps_its_publisher(
    rabbit_server: RabbitServer, channel: AbstractChannel, queue_name: str
) -> None:
    """A message without publisher is trusted only if it comes from a version that did not set it."""
    administrator = aio_pika.Message(b"", headers={PUBLISHER_HEADER: "checkout"})
    for arguments, expected in (("legacy", None), ("limit", "")):
        queue = Queue(f"{queue_name}-{arguments}", events=(PaymentSucceeded,))
        if arguments == "legacy":
            await declare_legacy(channel, queue)
        else:
            await declare_at(rabbit_server.url, [replace(queue, redelivery_limit=7)])
        await channel.default_exchange.publish(administrator, queue.name)
        await declare_at(rabbit_server.url, [queue])
        (moved,) = await take_all(channel, queue.name)
        assert moved.headers.get(PUBLISHER_HEADER) == expected
        assert moved.user_id is not None


async def test_processes_say_what_is_missing(
    rabbit_server: RabbitServer, channel: AbstractChannel, queue_name: str
) -> None:
    queue = Queue(queue_name)
    await declare_at(rabbit_server.url, [queue])
    await check_declared(rabbit_server.url, [queue])
    await channel.queue_delete(queue.dead)
    with pytest.raises(NotDeclared, match=rf"run migrate: .*{queue.dead}"):
        await check_declared(rabbit_server.url, [queue])
