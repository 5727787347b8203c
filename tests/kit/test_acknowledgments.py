"""Acknowledgments on a real broker: few of them, and never one of a message that is unfinished."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
from aio_pika import IncomingMessage, Message
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aiormq import Channel
from tests.waiting import until

from kit.messaging.acknowledgments import Acknowledgments
from testkit.rabbit_server import RabbitServer

NUMBER = 40


@asynccontextmanager
async def opened(server: RabbitServer, name: str) -> AsyncIterator[AbstractQueue]:
    connection = await aio_pika.connect(server.url)
    async with connection:
        channel = await connection.channel()
        yield await channel.declare_queue(name, durable=True)


async def delivered(queue: AbstractQueue) -> list[IncomingMessage]:
    """NUMBER messages of one consumer, none of them answered."""
    for n in range(NUMBER):
        await queue.channel.default_exchange.publish(Message(str(n).encode()), queue.name)
    found: list[IncomingMessage] = []

    async def note(message: AbstractIncomingMessage) -> None:
        assert isinstance(message, IncomingMessage)
        found.append(message)

    async def all_of_them() -> bool:
        return len(found) == NUMBER

    await queue.consume(note)
    await until(all_of_them)
    return sorted(found, key=lambda message: message.delivery_tag or 0)


async def left(server: RabbitServer, name: str) -> list[int]:
    """Those that the broker has when their consumer is gone."""
    async with opened(server, name) as queue:
        found = []
        while (message := await queue.get(fail=False, no_ack=True)) is not None:
            found.append(int(message.body))
        await queue.delete()
        return sorted(found)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """The acknowledgments that were sent: tag, and whether it includes those below."""
    found: list[tuple[int, bool]] = []
    original = Channel.basic_ack

    async def note(self: Channel, delivery_tag: int, multiple: bool = False, **more: Any) -> None:
        found.append((delivery_tag, multiple))
        await original(self, delivery_tag, multiple, **more)

    monkeypatch.setattr(Channel, "basic_ack", note)
    return found


async def test_messages_that_are_finished_together_are_acknowledged_by_one(
    rabbit_server: RabbitServer, queue_name: str, sent: list[tuple[int, bool]]
) -> None:
    async with opened(rabbit_server, queue_name) as queue:
        messages = await delivered(queue)
        acknowledgments = Acknowledgments()
        for half in (messages[20:0:-1] + messages[:1], messages[21:]):
            await asyncio.gather(*(acknowledgments.ack(each) for each in half))
    assert sent == [(21, True), (NUMBER, True)]
    assert await left(rabbit_server, queue_name) == []


async def test_an_unfinished_message_is_not_acknowledged_by_those_after_it(
    rabbit_server: RabbitServer, queue_name: str, sent: list[tuple[int, bool]]
) -> None:
    async with opened(rabbit_server, queue_name) as queue:
        messages = await delivered(queue)
        acknowledgments = Acknowledgments()
        await asyncio.gather(*(acknowledgments.ack(each) for each in messages[:5] + messages[6:8]))
        assert sent == [(5, True), (7, False), (8, False)]
        await acknowledgments.nack(messages[5], requeue=True)
        await asyncio.gather(*(acknowledgments.ack(each) for each in messages[8:10]))
        assert sent[3:] == [(10, True)]
    assert await left(rabbit_server, queue_name) == [5, *range(10, NUMBER)]


@pytest.mark.parametrize("seed", range(5))
async def test_only_what_is_unfinished_is_delivered_again(
    rabbit_server: RabbitServer, queue_name: str, seed: int
) -> None:
    chance = random.Random(seed)
    unfinished = set[int]()

    async def answer(acknowledgments: Acknowledgments, message: IncomingMessage) -> None:
        for _ in range(int(message.body) // 10 + chance.randrange(4)):
            await asyncio.sleep(0)
        match chance.randrange(8):
            case 0:
                unfinished.add(int(message.body))
            case 1:
                await acknowledgments.nack(message, requeue=False)
            case _:
                await acknowledgments.ack(message)

    async with opened(rabbit_server, queue_name) as queue:
        messages = await delivered(queue)
        acknowledgments = Acknowledgments()
        await asyncio.gather(*(answer(acknowledgments, each) for each in messages))
        assert not queue.channel.is_closed, "the broker has refused an acknowledgment"
    assert await left(rabbit_server, queue_name) == sorted(unfinished)


async def test_the_acknowledgment_of_a_lost_channel_fails(rabbit_server: RabbitServer, queue_name: str) -> None:
    async with opened(rabbit_server, queue_name) as queue:
        messages = await delivered(queue)
        acknowledgments = Acknowledgments()
        await acknowledgments.ack(messages[0])
        await queue.channel.close()
        with pytest.raises(RuntimeError):
            await acknowledgments.ack(messages[1])
    assert await left(rabbit_server, queue_name) == list(range(1, NUMBER))
