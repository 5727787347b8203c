"""Delivered messages: everything that RabbitMQ delivers is decoded, and what cannot be read is recognized.

RabbitMQ accepts properties and routing keys that pamqp cannot decode: text that is not UTF-8, timestamps in
nanoseconds, deeply nested headers. pamqp's error ends aiormq's reader and with it the connection (aiormq/connection.py,
`Connection._on_reader_done`), and an error in aio-pika's IncomingMessage leaves the message unacknowledged forever. The
broker then delivers everything that was prefetched again and again, until all of it has reached its delivery limit.
"""

from __future__ import annotations

from aio_pika.abc import AbstractIncomingMessage
from pamqp import commands, decode, header

UNREADABLE_HEADER = "bursar-unreadable"
"""Why the properties of a message could not be decoded. Those before the first bad one are there."""
MAX_PROPERTIES = 32 * 1024
"""Bytes; ours have less than 1 KiB. Larger ones are not decoded: pamqp takes more than a second for some that
fit into a frame (131,072 bytes), and together with the headers of a dead letter they might not fit into one."""
_ENCODINGS = (None, "", "utf-8", "identity")
_TEXT = ("content_type", "content_encoding", "correlation_id", "reply_to", "message_id", "message_type", "app_id")
_decode_properties = header.ContentHeader.unmarshal


def decode_everything() -> None:
    """Makes pamqp decode everything that RabbitMQ delivers, in this process. Idempotent.

    aiormq has no hook for this; `decode.METHODS` and `ContentHeader` are pamqp's public names for it.
    """
    decode.METHODS["shortstr"] = _short_text  # also the routing keys of deliveries
    header.ContentHeader.unmarshal = _unmarshal  # type: ignore[method-assign]


def why_unreadable(message: AbstractIncomingMessage) -> str | None:
    """Why this message cannot be an event of ours, with any body. None: it can be one."""
    if reason := message.headers.get(UNREADABLE_HEADER):
        return str(reason)
    encoding = message.content_encoding
    return None if encoding in _ENCODINGS else f"unknown content encoding {encoding[:40]!r}"


def _short_text(value: bytes) -> tuple[int, str]:
    if not value:
        raise ValueError("no text")
    end = value[0] + 1
    return end, value[1:end].decode("utf-8", "surrogateescape")


def _unmarshal(self: header.ContentHeader, data: bytes) -> None:
    try:
        if len(data) > MAX_PROPERTIES:
            # class, weight and size of the body, and no properties
            _decode_properties(self, data[:12] + b"\0\0")
            raise ValueError(f"properties of {len(data)} bytes")
        _decode_properties(self, data)
        _check(self.properties)
    except Exception as error:  # all that pamqp raises: OverflowError, RecursionError, ...
        known: commands.Basic.Properties = self.properties
        reason = str(error) if type(error) is ValueError else type(error).__name__
        known.headers = {**(known.headers or {}), UNREADABLE_HEADER: f"AMQP properties cannot be decoded: {reason}"}
        known.delivery_mode = 2


def _check(properties: commands.Basic.Properties) -> None:
    """Raises ValueError for properties that aio-pika cannot represent."""
    for name in _TEXT:
        value = getattr(properties, name)
        if value and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                setattr(properties, name, None)
                raise ValueError(f"{name} is not UTF-8") from None
    if properties.delivery_mode not in (None, 1, 2):
        raise ValueError("delivery_mode is neither 1 nor 2")
    if properties.expiration is not None:
        float(properties.expiration)
