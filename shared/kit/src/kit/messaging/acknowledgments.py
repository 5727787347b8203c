"""Acknowledgments: one for all messages of a channel that are finished at the same time.

A channel numbers its deliveries 1, 2, 3, ..., and one acknowledgment can include all up to its tag
(https://www.rabbitmq.com/docs/confirms#consumer-acks-multiple-parameter). It is sent for a tag only if none below it is
unfinished. A message beyond an unfinished one is acknowledged alone, because that one may take long.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from aio_pika import IncomingMessage
from aiormq.abc import AbstractChannel


class Acknowledgments:
    """Of the channels of one process."""

    def __init__(self) -> None:
        self._channels = WeakKeyDictionary[AbstractChannel, _Channel]()

    async def ack(self, message: IncomingMessage) -> None:
        """Returns once it is sent. Raises if the channel is closed: the broker delivers the message again."""
        await self._of(message).ack(message.channel, message.delivery_tag or 0)

    async def nack(self, message: IncomingMessage, *, requeue: bool) -> None:
        channel = self._of(message)
        await message.nack(requeue=requeue)
        channel.finish(message.delivery_tag or 0)

    def _of(self, message: IncomingMessage) -> _Channel:
        if (found := self._channels.get(message.channel)) is None:
            found = self._channels[message.channel] = _Channel()
        return found


class _Channel:
    """What was answered of one channel's deliveries."""

    def __init__(self) -> None:
        self._finished_up_to = 0
        self._finished = set[int]()  # beyond that
        self._unsent: list[int] = []
        self._sending: asyncio.Task[None] | None = None

    def finish(self, tag: int) -> None:
        self._finished.add(tag)

    async def ack(self, channel: AbstractChannel, tag: int) -> None:
        self._unsent.append(tag)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send(channel))  # starts after all that are finished now
        await asyncio.shield(self._sending)  # others wait for it too

    async def _send(self, channel: AbstractChannel) -> None:
        """One at a time: a tag that a later acknowledgment has included must not be acknowledged again."""
        try:
            while self._unsent:
                tags, self._unsent = self._unsent, []
                self._finished.update(tags)
                while self._finished_up_to + 1 in self._finished:
                    self._finished_up_to += 1
                    self._finished.remove(self._finished_up_to)
                included = [tag for tag in tags if tag <= self._finished_up_to]
                if included:
                    await channel.basic_ack(max(included), multiple=True)
                for tag in tags:
                    if tag > self._finished_up_to:
                        await channel.basic_ack(tag)
        finally:
            self._sending = None
