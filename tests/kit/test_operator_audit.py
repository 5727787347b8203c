"""What an operator does with dead letters is recorded before it is done, and not done if it cannot be recorded."""

from __future__ import annotations

import asyncio
import getpass
import json
import sys

import aio_pika
import pytest
from tests.kit.events import paid
from tests.kit.subscriber_steps import dead, to_queue

from contracts.audit import AuditRecorded
from contracts.envelope import parse
from contracts.registry import EVENT_TYPES
from kit.messaging.broker import Publisher
from kit.messaging.dead_letters import main
from kit.messaging.outbox import to_message
from kit.messaging.topology import Queue, declare_at
from testkit.rabbit_server import RabbitServer


async def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """In a thread: it has an event loop of its own."""
    monkeypatch.setattr(sys, "argv", ["dead_letters", *arguments])
    return await asyncio.to_thread(main)


async def test_a_replay_and_a_discard_are_recorded(
    rabbit_server: RabbitServer, publisher: Publisher, queue_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = Queue(f"{queue_name}-audit", events=(AuditRecorded,))
    await declare_at(rabbit_server.url, [Queue(queue_name), audit])
    for id in ("evt_1", "evt_2"):
        await publisher.publish(to_queue(to_message(paid(id)), f"{queue_name}.dead"))
    monkeypatch.setenv("AMQP_URL", rabbit_server.url)
    assert await command(monkeypatch, "replay", queue_name, "evt_1", "--vouch") == 0
    assert await command(monkeypatch, "discard", queue_name, "evt_2", "--operator", "ops-7") == 0
    assert await command(monkeypatch, "discard", queue_name, "evt_none") == 1
    recorded = []
    async with await aio_pika.connect(rabbit_server.url) as connection:
        queue = await (await connection.channel()).get_queue(audit.name)
        while (message := await queue.get(fail=False, no_ack=True)) is not None:
            event = parse(message.headers, message.body, EVENT_TYPES).data
            assert isinstance(event, AuditRecorded)
            recorded.append(event)
    replayed, discarded = recorded
    assert (replayed.actor.id, replayed.actor.role) == (getpass.getuser(), "operator")
    assert (replayed.act.action, replayed.act.object_id) == ("dead_letter.replayed", "evt_1")
    assert replayed.act.before and replayed.act.before["queue"] == queue_name and replayed.act.before["vouch"] is True
    assert (discarded.actor.id, discarded.act.action, discarded.act.object_id) == (
        "ops-7",
        "dead_letter.discarded",
        "evt_2",
    )
    assert "amount" not in json.dumps(discarded.act.before), "not the body"


@pytest.mark.usefixtures("no_queue_of_all_types")
async def test_what_cannot_be_recorded_is_not_done(
    rabbit_server: RabbitServer, publisher: Publisher, queue_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    await publisher.publish(to_queue(to_message(paid("evt_1")), f"{queue_name}.dead"))
    monkeypatch.setenv("AMQP_URL", rabbit_server.url)
    monkeypatch.setattr(AuditRecorded, "type", "audit.recorded.v0")  # nobody is bound to it
    with pytest.raises(SystemExit, match="failed"):
        await command(monkeypatch, "discard", queue_name, "evt_1")
    assert await dead(rabbit_server, queue_name) == ["evt_1"]
