"""Dead letters of a queue: a command for operators.

    python -m kit.messaging.dead_letters list    <queue>
    python -m kit.messaging.dead_letters show    <queue> <event id>
    python -m kit.messaging.dead_letters replay  <queue> <event id>|--all
    python -m kit.messaging.dead_letters discard <queue> <event id>

AMQP_URL is the broker's URL, `<queue>` the queue whose consumer failed. A replay publishes the message to that queue
again; replaying an event twice has no second effect, since the inbox recognizes it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import QueueEmpty

from contracts.envelope import BadEnvelope, attributes
from kit.messaging.failed_messages import ATTEMPT_HEADER
from kit.messaging.topology import Queue


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    event_id: str
    type: str
    reason: str
    attempts: int
    dead_lettered_at: str
    stack: str
    body: bytes


def _read(message: AbstractIncomingMessage) -> DeadLetter:
    try:
        event = attributes(message.headers)
    except BadEnvelope:
        event = {}
    headers: dict[str, Any] = dict(message.headers)
    return DeadLetter(
        event_id=event.get("id") or message.message_id or "unknown",
        type=event.get("type", "unknown"),
        reason=str(headers.get("bursar-reason", "redelivery limit exceeded: its consumer crashed")),
        attempts=int(headers.get("bursar-attempts", 0)),
        dead_lettered_at=str(headers.get("bursar-dead-lettered-at", "")),
        stack=str(headers.get("bursar-stack", "")),
        body=message.body,
    )


class DeadLetters:
    """The dead letters of one queue. Messages that are only read go back to where they were."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel, queue: str) -> None:
        self._channel = channel
        self._queue = queue

    async def letters(self) -> list[DeadLetter]:
        async with self._held() as messages:
            return [_read(message) for message in messages]

    async def replay(self, selected: Callable[[DeadLetter], bool]) -> int:
        """Publishes the selected messages to the queue again; each is acknowledged after the broker's confirm."""
        replayed = 0
        exchange = await self._channel.get_exchange(Queue(self._queue).exchange, ensure=False)
        async with self._held() as messages:
            for message in messages:
                if selected(_read(message)):
                    dropped = ("bursar-", "x-")
                    headers = {
                        n: v for n, v in message.headers.items() if not n.startswith(dropped) and n != ATTEMPT_HEADER
                    }
                    copy = aio_pika.Message(
                        message.body,
                        headers=headers,
                        message_id=message.message_id,
                        type=message.type,
                        correlation_id=message.correlation_id,
                        content_type=message.content_type,
                        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    )
                    await exchange.publish(copy, self._queue, mandatory=True)
                    await message.ack()
                    replayed += 1
        return replayed

    async def discard(self, selected: Callable[[DeadLetter], bool]) -> int:
        discarded = 0
        async with self._held() as messages:
            for message in messages:
                if selected(_read(message)):
                    await message.ack()
                    discarded += 1
        return discarded

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[list[AbstractIncomingMessage]]:
        """All dead letters, unacknowledged. Those that the block does not acknowledge are requeued."""
        queue = await self._channel.get_queue(f"{self._queue}.dead", ensure=True)
        held: list[AbstractIncomingMessage] = []
        try:
            while True:
                try:
                    held.append(await queue.get(timeout=5))
                except QueueEmpty:
                    break
            yield held
        finally:
            for message in held:
                if not message.processed:
                    await message.nack(requeue=True)


@asynccontextmanager
async def dead_letters(amqp_url: str, queue: str) -> AsyncIterator[DeadLetters]:
    connection = await aio_pika.connect(amqp_url, timeout=10)
    async with connection:
        yield DeadLetters(await connection.channel(publisher_confirms=True, on_return_raises=True), queue)


async def _main(arguments: argparse.Namespace) -> int:
    def selected(letter: DeadLetter) -> bool:
        return bool(getattr(arguments, "all", False)) or letter.event_id == arguments.event_id

    if not (amqp_url := os.environ.get("AMQP_URL")):
        sys.exit("AMQP_URL is not set: amqp://user:password@host:port/vhost")
    async with dead_letters(amqp_url, arguments.queue) as letters:
        if arguments.command in ("list", "show"):
            found = await letters.letters()
            if arguments.command == "show" and not any(selected(letter) for letter in found):
                sys.exit(f"{arguments.event_id} is not a dead letter of {arguments.queue}")
            for letter in found:
                if arguments.command == "list":
                    _print(f"{letter.event_id}  {letter.type}  attempts={letter.attempts}  {letter.reason}")
                elif letter.event_id == arguments.event_id:
                    _print(
                        f"{letter.reason}\n"
                        f"dead-lettered at {letter.dead_lettered_at} after {letter.attempts} attempts\n{letter.stack}"
                    )
                    _print(json.dumps(json.loads(letter.body), indent=2))
            return 0
        act = letters.replay if arguments.command == "replay" else letters.discard
        changed = await act(selected)
        _print(f"{arguments.command}: {changed}")
        return 0 if changed else 1


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kit.messaging.dead_letters", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("list", "show", "replay", "discard"):
        command = commands.add_parser(name)
        command.add_argument("queue")
        if name == "replay":
            command.add_argument("event_id", nargs="?")
            command.add_argument("--all", action="store_true")
        elif name != "list":
            command.add_argument("event_id")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(_arguments())))
