"""Dead letters: a command for operators.

    python -m kit.messaging.dead_letters list    [<queue> ...]
    python -m kit.messaging.dead_letters show    <queue> <event id>
    python -m kit.messaging.dead_letters replay  <queue> <event id>|--all
    python -m kit.messaging.dead_letters discard <queue> <event id>

AMQP_URL is the broker's URL with the deployment's login, `<queue>` the queue whose consumer failed; `list` without one
lists those of all services that are installed here. A replay publishes the message to that queue again; replaying an
event twice has no second effect, since the inbox recognizes it. An event that its publisher may not publish is refused
again, unless you replay it with `--vouch`: then it counts as yours.

Each replay and discard is recorded in the audit trail first, with the operating system's user, or `--operator NAME`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from importlib.util import find_spec

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPError, QueueEmpty

from contracts.audit import Act, Action, AuditRecorded
from contracts.envelope import Envelope
from contracts.registry import PUBLISHED_BY
from kit.db.unit_of_work import utc_now
from kit.messaging import audit
from kit.messaging.audit import Origin
from kit.messaging.dead_letter import UNKNOWN, DeadLetter, copy_of, read
from kit.messaging.delivered import decode_everything
from kit.messaging.outbox import EVENTS_EXCHANGE
from kit.messaging.publishers import (
    KEY_HEADER,
    PUBLISHER_HEADER,
    is_service,
    login_of,
    publisher_of_dead_letter,
)
from kit.messaging.topology import Queue

RETURN_CHECKS, RETURN_CHECK_SECONDS = 250, 0.02


class DeadLetters:
    """The dead letters of one queue. What is not replayed or discarded goes back to where it was."""

    def __init__(self, connection: AbstractConnection, queue: str, *, login: str) -> None:
        self._connection = connection
        self._queue = queue
        self._login = login

    async def count(self) -> int:
        """Raises AMQPError if the queue is not declared."""
        async with await self._connection.channel() as channel:
            queue = await channel.get_queue(f"{self._queue}.dead", ensure=True)
            return queue.declaration_result.message_count or 0

    async def letters(self, *, skip: int = 0, limit: int | None = None) -> list[DeadLetter]:
        """The first `limit` after the first `skip`."""
        found: list[DeadLetter] = []
        async with aclosing(self._messages()) as messages:
            async for _, message in messages:
                if limit is not None and len(found) == limit:
                    break
                if skip:
                    skip -= 1
                else:
                    found.append(read(message))
        return found

    async def find(self, event_id: str, *, origin: Origin | None = None) -> DeadLetter | None:
        """The message itself, which has personal data: recorded in the audit trail if `origin` is given."""
        async with aclosing(self._messages()) as messages:
            async for channel, message in messages:
                letter = read(message)
                if letter.event_id == event_id:
                    await self._record(channel, "dead_letter.shown", letter, origin)
                    return letter
        return None

    async def replay(
        self,
        selected: Callable[[DeadLetter], bool],
        *,
        limit: int | None = None,
        vouch: bool = False,
        origin: Origin | None = None,
    ) -> int:
        """Publishes the selected messages to the queue again, the first `limit` of them; each is acknowledged after the
        broker's confirm. Those whose headers cannot be decoded stay.

        Raises AMQPError if one cannot be published; it stays a dead letter.
        """
        replayed = 0
        async with aclosing(self._messages()) as messages:
            async for channel, message in messages:
                letter = read(message)
                if replayed == limit:
                    break
                if letter.complete and selected(letter):
                    await self._record(channel, "dead_letter.replayed", letter, origin, vouch=vouch)
                    exchange = await channel.get_exchange(Queue(self._queue).exchange, ensure=False)
                    copy = copy_of(message)
                    copy.user_id = self._login
                    if not vouch:
                        copy.headers[PUBLISHER_HEADER] = publisher_of_dead_letter(message, operator=self._login)
                        if (key := message.headers.get(KEY_HEADER)) is not None:
                            copy.headers[KEY_HEADER] = key
                    await exchange.publish(copy, self._queue, mandatory=True)
                    await message.ack()
                    replayed += 1
        return replayed

    async def discard(
        self,
        selected: Callable[[DeadLetter], bool],
        *,
        limit: int | None = None,
        origin: Origin | None = None,
        reason: str | None = None,
    ) -> int:
        """The first `limit` of the selected messages."""
        discarded = 0
        async with aclosing(self._messages()) as messages:
            async for channel, message in messages:
                letter = read(message)
                if discarded == limit:
                    break
                if selected(letter):
                    await self._record(channel, "dead_letter.discarded", letter, origin, why=reason)
                    await message.ack()
                    discarded += 1
        return discarded

    async def messages(self) -> AsyncGenerator[tuple[AbstractIncomingMessage, DeadLetter], None]:
        """For callers that acknowledge what they have moved; the others go back."""
        async with aclosing(self._messages()) as messages:
            async for _, message in messages:
                yield message, read(message)

    async def _record(
        self,
        channel: AbstractChannel,
        action: Action,
        letter: DeadLetter,
        origin: Origin | None,
        *,
        why: str | None = None,
        **more: bool,
    ) -> None:
        """Publishes the audit record, before the act: what is recorded may not have happened, but what has happened is
        recorded. Raises AMQPError if no queue receives it. None: nobody in particular, as in tests."""
        if origin is None:
            return
        about = {"queue": self._queue, "type": letter.type, "reason": letter.reason[:500], **more}
        act = Act.of(action, "dead_letter", letter.event_id, before=about, reason=why)
        envelope = Envelope(
            id=audit.new_id(),
            source=self._login,
            subject=audit.subject_of(act),
            time=utc_now(),
            data=AuditRecorded(actor=origin.actor, act=act, address=origin.address, trace_id=origin.trace_id),
        )
        message = aio_pika.Message(
            envelope.body(),
            headers=dict(envelope.headers()),
            message_id=envelope.id,
            user_id=self._login,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        exchange = await channel.get_exchange(EVENTS_EXCHANGE, ensure=False)
        await exchange.publish(message, envelope.type, mandatory=True)

    async def _messages(self) -> AsyncGenerator[tuple[AbstractChannel, AbstractIncomingMessage], None]:
        """Each dead letter that is there now, unacknowledged. Those that the caller leaves so return to the queue."""
        channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
        async with channel:
            queue = await channel.get_queue(f"{self._queue}.dead", ensure=True)
            kept: list[int] = []
            try:
                for _ in range(queue.declaration_result.message_count or 0):
                    message = await queue.get(timeout=5)
                    try:
                        yield channel, message
                    finally:
                        if not message.processed and message.delivery_tag is not None:
                            kept.append(message.delivery_tag)
            except QueueEmpty:
                return
            finally:
                await _return(channel, queue, kept)


async def _return(channel: AbstractChannel, queue: AbstractQueue, delivery_tags: list[int]) -> None:
    """Returns these deliveries to the queue, and waits until they are in it, for 5 seconds at most: a quorum queue
    looks empty until its nodes have agreed on the return, which closing the channel does not wait for."""
    if channel.is_closed or not delivery_tags:
        return
    underlay = await channel.get_underlay_channel()
    await underlay.basic_nack(delivery_tags[-1], multiple=True, requeue=True)
    for _ in range(RETURN_CHECKS):
        if ((await queue.declare()).message_count or 0) >= len(delivery_tags):
            return
        await asyncio.sleep(RETURN_CHECK_SECONDS)


@asynccontextmanager
async def dead_letters(amqp_url: str, queue: str) -> AsyncIterator[DeadLetters]:
    async with connected(amqp_url) as connection:
        yield DeadLetters(connection, queue, login=login_of(amqp_url))


@asynccontextmanager
async def connected(amqp_url: str) -> AsyncIterator[AbstractConnection]:
    decode_everything()
    async with await aio_pika.connect(amqp_url, timeout=10) as connection:
        yield connection


def installed_queues() -> list[str]:
    """The queues of all services that are installed here: `<service>.topology.QUEUES`."""
    packages = [service.replace("-", "_").replace(" ", "_") for service in PUBLISHED_BY]
    topologies = [importlib.import_module(f"{package}.topology") for package in packages if find_spec(package)]
    return [queue.name for topology in topologies for queue in topology.QUEUES]


async def _list(connection: AbstractConnection, queues: list[str]) -> int:
    """Returns how many queues could not be read."""
    failed = 0
    for queue in queues:
        try:
            letters = await DeadLetters(connection, queue, login=UNKNOWN).letters()
        except AMQPError as error:  # it does not exist, or this login may not read it
            failed += 1
            sys.stderr.write(f"{queue}: {_printable(str(error))}\n")
            continue
        for letter in letters:
            prefix = f"{queue}  " if len(queues) > 1 else ""
            login = letter.login or "no login"
            _print(f"{prefix}{letter.event_id}  {letter.type}  attempts={letter.attempts}  {login}  {letter.reason}")
    return failed


def _show(letter: DeadLetter) -> None:
    _print(letter.reason)
    _print(f"published first by {letter.publisher or UNKNOWN}, put there by {letter.login or UNKNOWN}")
    _print(f"dead-lettered at {letter.dead_lettered_at or 'unknown'} after {letter.attempts} attempts")
    for line in letter.stack.splitlines():
        _print(line)
    for name, value in letter.headers.items():
        if not name.startswith("bursar-"):
            _print(f"{name}: {str(value)[:500]}")
    try:
        body = json.dumps(json.loads(letter.body), indent=2)
    except (ValueError, RecursionError):
        body = letter.body.decode("utf-8", "backslashreplace")
    for line in body.splitlines():
        _print(line)


async def _main(arguments: argparse.Namespace, amqp_url: str) -> int:
    def selected(letter: DeadLetter) -> bool:
        return bool(getattr(arguments, "all", False)) or letter.event_id == arguments.event_id

    async with connected(amqp_url) as connection:
        if arguments.command == "list":
            return 1 if await _list(connection, arguments.queue or installed_queues()) else 0
        letters = DeadLetters(connection, arguments.queue, login=login_of(amqp_url))
        if arguments.command == "show":
            found = [letter for letter in await letters.letters() if selected(letter)]
            if not found:
                sys.exit(f"{arguments.event_id} is not a dead letter of {arguments.queue}")
            for letter in found:
                _show(letter)
            return 0
        origin = Origin(actor=audit.operator(arguments.operator))
        if arguments.command == "replay":
            if is_service(login_of(amqp_url)):
                sys.exit("AMQP_URL has the login of a service: consumers accept replays of the deployment's only")
            changed = await letters.replay(selected, vouch=arguments.vouch, origin=origin)
        else:
            changed = await letters.discard(selected, origin=origin)
        _print(f"{arguments.command}: {changed}")
        return 0 if changed else 1


def _print(line: str) -> None:
    sys.stdout.write(_printable(line) + "\n")


def _printable(line: str) -> str:
    """Control characters are escaped: the writer of the message must not control the operator's terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m kit.messaging.dead_letters",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("list", "show", "replay", "discard"):
        command = commands.add_parser(name)
        command.add_argument("queue", nargs="*" if name == "list" else None)
        if name == "replay":
            command.add_argument("event_id", nargs="?")
            command.add_argument("--all", action="store_true")
            command.add_argument("--vouch", action="store_true")
        elif name != "list":
            command.add_argument("event_id")
        if name in ("replay", "discard"):
            command.add_argument("--operator", metavar="NAME", help="who you are, for the audit trail")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    if not (amqp_url := os.environ.get("AMQP_URL")):
        sys.exit("AMQP_URL is not set: amqp://user:password@host:port/vhost")
    try:
        return asyncio.run(_main(arguments, amqp_url))
    except (AMQPError, OSError) as error:
        sys.exit(f"failed: {_printable(str(error) or type(error).__name__)}")


if __name__ == "__main__":
    sys.exit(main())
