"""The dead letters of a queue, for an operator.

    python -m kit.messaging.dead_letters list    <queue>
    python -m kit.messaging.dead_letters show    <queue> <event id>
    python -m kit.messaging.dead_letters replay  <queue> <event id>|--all
    python -m kit.messaging.dead_letters discard <queue> <event id>

AMQP_URL names the broker. `<queue>` is the queue that the message died in. A replay puts the message back into that
queue; a second replay of the same event finds it in the inbox and does nothing.
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


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    event_id: str
    type: str
    reason: str
    attempts: int
    died_at: str
    stack: str
    body: bytes


def _read(message: AbstractIncomingMessage) -> DeadLetter:
    try:
        said = attributes(message.headers)
    except BadEnvelope:
        said = {}
    told: dict[str, Any] = dict(message.headers)
    return DeadLetter(
        event_id=said.get("id") or message.message_id or "unknown",
        type=said.get("type", "unknown"),
        reason=str(told.get("bursar-reason", "redelivered too often: its consumer died over it")),
        attempts=int(told.get("bursar-attempts", 0)),
        died_at=str(told.get("bursar-died-at", "")),
        stack=str(told.get("bursar-stack", "")),
        body=message.body,
    )


class DeadLetters:
    """The dead letters of one queue. What is only looked at goes back to where it was."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel, queue: str) -> None:
        self._channel = channel
        self._queue = queue

    async def letters(self) -> list[DeadLetter]:
        async with self._held() as messages:
            return [_read(message) for message in messages]

    async def replay(self, wanted: Callable[[DeadLetter], bool]) -> int:
        """Puts the wanted ones back into the queue; each leaves the dead letters only after the broker's confirm."""
        replayed = 0
        async with self._held() as messages:
            for message in messages:
                if wanted(_read(message)):
                    ours = ("bursar-", "x-")
                    headers = {
                        n: v for n, v in message.headers.items() if not n.startswith(ours) and n != ATTEMPT_HEADER
                    }
                    again = aio_pika.Message(
                        message.body,
                        headers=headers,
                        message_id=message.message_id,
                        type=message.type,
                        correlation_id=message.correlation_id,
                        content_type=message.content_type,
                        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    )
                    await self._channel.default_exchange.publish(again, self._queue, mandatory=True)
                    await message.ack()
                    replayed += 1
        return replayed

    async def discard(self, wanted: Callable[[DeadLetter], bool]) -> int:
        discarded = 0
        async with self._held() as messages:
            for message in messages:
                if wanted(_read(message)):
                    await message.ack()
                    discarded += 1
        return discarded

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[list[AbstractIncomingMessage]]:
        """All dead letters, held unacknowledged; those not acknowledged inside go back."""
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
    def wanted(letter: DeadLetter) -> bool:
        return bool(getattr(arguments, "all", False)) or letter.event_id == arguments.event_id

    if not (amqp_url := os.environ.get("AMQP_URL")):
        sys.exit("set AMQP_URL: amqp://user:password@host:port/vhost")
    async with dead_letters(amqp_url, arguments.queue) as letters:
        if arguments.command in ("list", "show"):
            found = await letters.letters()
            if arguments.command == "show" and not any(wanted(letter) for letter in found):
                sys.exit(f"{arguments.event_id} is not among the dead letters of {arguments.queue}")
            for letter in found:
                if arguments.command == "list":
                    _print(f"{letter.event_id}  {letter.type}  attempts={letter.attempts}  {letter.reason}")
                elif letter.event_id == arguments.event_id:
                    _print(
                        f"{letter.reason}\ndied at {letter.died_at} after {letter.attempts} attempts\n{letter.stack}"
                    )
                    _print(json.dumps(json.loads(letter.body), indent=2))
            return 0
        act = letters.replay if arguments.command == "replay" else letters.discard
        changed = await act(wanted)
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
