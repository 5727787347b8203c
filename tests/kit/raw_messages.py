"""Messages whose properties no client library would write: their bytes are made here and sent as they are."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import aiormq
from aiormq.abc import ChannelFrame
from pamqp import commands, encode
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

FLAGS = commands.Basic.Properties.flags


class RawProperties(commands.Basic.Properties):
    """Properties by name, as bytes."""

    def __init__(self, **raw: bytes) -> None:
        super().__init__()
        self.raw = raw

    def marshal(self) -> bytes:
        flags = sum(FLAGS[name] for name in self.raw)
        return struct.pack(">H", flags) + b"".join(self.raw[name] for name in FLAGS if name in self.raw)


class RawPublish(commands.Basic.Publish):
    """A publish whose routing key is bytes."""

    def __init__(self, exchange: str, routing_key: bytes) -> None:
        super().__init__(exchange=exchange)
        self.raw = routing_key

    def marshal(self) -> bytes:
        return b"\0\0" + encode.short_string(self.exchange) + short(self.raw) + b"\0"


def short(text: bytes) -> bytes:
    return struct.pack("B", len(text)) + text


def table(headers: Mapping[str, Any]) -> bytes:
    return encode.field_table(dict(headers))


def nested(levels: int) -> bytes:
    inner = b""
    for _ in range(levels):
        inner = b"\x01aF" + struct.pack(">I", len(inner)) + inner
    return struct.pack(">I", len(inner)) + inner


async def send(
    url: str, body: bytes, properties: RawProperties, *, exchange: str = "", routing_key: bytes, copies: int = 1
) -> None:
    """Returns when the broker has routed them."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel(publisher_confirms=False)
        frames: list[Frame | ContentHeader | ContentBody] = [
            RawPublish(exchange, routing_key),
            ContentHeader(properties=properties, body_size=len(body)),
            *([ContentBody(body)] if body else []),
        ]
        for _ in range(copies):
            await connection.write_queue.put(ChannelFrame.marshall(channel_number=channel.number, frames=frames))
        await channel.basic_qos(prefetch_count=1)  # answered afterward
    finally:
        await connection.close()
