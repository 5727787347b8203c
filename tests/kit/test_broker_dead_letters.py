"""What the broker itself dead-letters, and the operators' command on all of it."""

from __future__ import annotations

import asyncio
import struct
import sys

import aio_pika
import pytest
from aio_pika.exceptions import AMQPError
from tests.kit.events import paid
from tests.kit.raw_messages import RawProperties, send, table
from tests.kit.subscriber_steps import dead, to_queue
from tests.waiting import until

from kit.messaging.broker import Publisher
from kit.messaging.dead_letters import dead_letters, installed_queues, main
from kit.messaging.outbox import to_message
from kit.messaging.publishers import login_of
from kit.messaging.topology import Queue, declare_at
from testkit.rabbit_server import RabbitServer

EVENT = to_message(paid("evt_dead"))


async def crash(rabbit: RabbitServer, queue: str) -> bool:
    """Takes a message and loses the connection. False if there is none."""
    connection = await aio_pika.connect(rabbit.url)
    async with connection:
        source = await (await connection.channel()).get_queue(queue)
        return await source.get(timeout=5, fail=False) is not None


async def test_a_message_that_crashes_its_consumers_is_dead_lettered_at_the_limit(
    rabbit_server: RabbitServer, publisher: Publisher, queue_name: str
) -> None:
    await declare_at(rabbit_server.url, [Queue(queue_name, redelivery_limit=2)])
    await publisher.publish(to_queue(EVENT, queue_name))

    async def dead_lettered() -> bool:
        await crash(rabbit_server, queue_name)
        return await dead(rabbit_server, queue_name) == ["evt_dead"]

    await until(dead_lettered)
    async with dead_letters(rabbit_server.url, queue_name) as letters:
        (letter,) = await letters.letters()
    assert letter.reason == "redelivery limit exceeded: its consumer crashed"
    assert letter.login == letter.publisher == login_of(rabbit_server.url)


def test_every_queue_has_a_limit_of_its_own() -> None:
    """RabbitMQ 3.10 has none by default: a message that crashes its consumer would do so forever."""
    assert 0 < Queue("a.b").arguments["x-delivery-limit"] <= 100


async def test_a_rejected_message_stays_while_its_dead_letter_queue_does_not_exist(
    rabbit_server: RabbitServer, publisher: Publisher, queue_name: str
) -> None:
    """Without at-least-once dead-lettering, RabbitMQ drops it."""
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    await publisher.publish(to_queue(EVENT, queue_name))
    connection = await aio_pika.connect(rabbit_server.url)
    async with connection:
        channel = await connection.channel()
        await channel.queue_delete(f"{queue_name}.dead")
        await (await (await channel.get_queue(queue_name)).get(timeout=5)).reject(requeue=False)

    async def kept() -> bool:
        listed = rabbit_server.control("list_queues", "name", "messages")
        return f"{queue_name}\t1" in listed

    await until(kept)


async def test_a_replay_that_is_not_confirmed_leaves_the_dead_letter(
    rabbit_server: RabbitServer, publisher: Publisher, queue_name: str
) -> None:
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    await publisher.publish(to_queue(EVENT, f"{queue_name}.dead"))
    connection = await aio_pika.connect(rabbit_server.url)
    async with connection:
        await (await connection.channel()).queue_delete(queue_name)
    async with dead_letters(rabbit_server.url, queue_name) as letters:
        with pytest.raises(AMQPError):
            await letters.replay(lambda _: True)
    assert await dead(rabbit_server, queue_name) == ["evt_dead"]
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    async with dead_letters(rabbit_server.url, queue_name) as letters:
        assert await letters.replay(lambda _: True) == 1
    assert await dead(rabbit_server, queue_name) == []


async def test_a_message_without_readable_headers_is_not_replayed_without_them(
    rabbit_server: RabbitServer, queue_name: str
) -> None:
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    late = {"headers": table(EVENT.headers), "timestamp": struct.pack(">Q", 2**63)}
    for raw in ({"headers": table({**EVENT.headers, "note": "x" * 130_000})}, late):
        await send(rabbit_server.url, b"{}", RawProperties(**raw), routing_key=f"{queue_name}.dead".encode())
    async with dead_letters(rabbit_server.url, queue_name) as letters:
        assert await letters.replay(lambda _: True) == 1, "only the timestamp of that one is lost"
        (left,) = await letters.letters()
        assert left.event_id.startswith("unknown-")
        assert "properties of 130" in left.reason
        assert await letters.discard(lambda each: each.event_id == left.event_id) == 1


async def test_the_command_lists_all_queues_and_shows_any_body(
    rabbit_server: RabbitServer,
    publisher: Publisher,
    queue_name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Run in a thread: it has an event loop of its own."""
    other = f"{queue_name}-other"
    await declare_at(rabbit_server.url, [Queue(queue_name), Queue(other)])
    await send(
        rabbit_server.url,
        b"\xff\x1b[2J{not json",
        RawProperties(headers=table({**EVENT.headers, "cloudEvents:type": "\x1b]0;owned\x07"})),
        routing_key=f"{queue_name}.dead".encode(),
    )
    await publisher.publish(to_queue(EVENT, f"{other}.dead"))
    monkeypatch.setenv("AMQP_URL", rabbit_server.url)

    async def command(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["dead_letters", *arguments])
        code = await asyncio.to_thread(main)
        return code, capsys.readouterr().out

    code, listed = await command("list", f"{queue_name}-missing", other)
    assert code == 1
    assert listed.split()[:2] == [other, "evt_dead"]
    for incomplete in ((), ("show", queue_name), ("discard", queue_name)):
        with pytest.raises(SystemExit) as refused:
            await command(*incomplete)
        assert refused.value.code == 2
    code, listed = await command("list", queue_name, other)
    assert code == 0
    assert [line.split()[0] for line in listed.splitlines()] == [queue_name, other]
    assert "\x1b" not in listed
    code, shown = await command("show", queue_name, "evt_dead")
    assert code == 0
    assert "\\xff\\x1b[2J{not json" in shown
    code, shown = await command("show", other, "evt_dead")
    assert '"amount"' in shown
    assert {"enrollment.payments", "webhook-gateway.spill", "notifications.milady"} <= set(installed_queues())
