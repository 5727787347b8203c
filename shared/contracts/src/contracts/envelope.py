"""CloudEvents 1.0 in AMQP binary mode: the attributes travel as headers, the data as the JSON body.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/amqp-protocol-binding.md (chapter 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

PREFIX = "cloudEvents:"
_ALTERNATE_PREFIX = "cloudEvents_"  # as long; the binding allows both; we write the first and read either


class Model(BaseModel):
    """Part of an event: frozen; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Event(Model):
    """One fact, in the past tense. `type` includes the version and is the routing key."""

    type: ClassVar[str]


class UnknownEvent(Event):
    """An event of a type that only a later version has. Its body is in `Envelope.received`."""

    type = "unknown"


@lru_cache(maxsize=256)
def _unknown(type_: str) -> type[UnknownEvent]:
    return type("UnknownEvent", (UnknownEvent,), {"type": type_, "__module__": __name__})


E = TypeVar("E", bound=Event, covariant=True)


class BadEnvelope(ValueError):
    """The message is not a valid event: an attribute is missing, or the data does not match the type."""


class UnrecognizedType(BadEnvelope):
    """No event of this version has this type; one of a later version may."""


@dataclass(frozen=True, kw_only=True)
class Envelope(Generic[E]):
    """An event with its CloudEvents attributes.

    id:       derived from its cause, so that a redelivery or a replay makes the same id
    source:   the service that published it
    subject:  the purchase id, or the payment reference until the purchase is known
    time:     when the fact occurred (not when it was published), UTC
    causation_id: the id of the event that caused this one
    received: the body as it came, with fields that only a later version knows; empty if `data` was made here
    """

    id: str
    source: str
    subject: str
    time: datetime
    data: E
    correlation_id: str = ""
    causation_id: str = ""
    traceparent: str = ""
    received: bytes = field(default=b"", repr=False, compare=False)

    @property
    def type(self) -> str:
        return self.data.type

    def headers(self) -> dict[str, str]:
        """The attributes as AMQP headers, without empty ones."""
        attributes = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.time.astimezone(UTC).isoformat(),
            "correlationid": self.correlation_id,
            "causationid": self.causation_id,
            "traceparent": self.traceparent,
        }
        return {PREFIX + name: value for name, value in attributes.items() if value}

    def body(self) -> bytes:
        return self.data.model_dump_json(exclude_none=True).encode()


def attributes(headers: Mapping[str, Any]) -> dict[str, str]:
    """The CloudEvents attributes among AMQP headers, without their prefix. Raises BadEnvelope if one is not text."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        if name.startswith((PREFIX, _ALTERNATE_PREFIX)):
            found[name[len(PREFIX) :]] = _text(value)
    return found


def _text(value: object) -> str:
    if isinstance(value, str) and value.isascii() and "\x00" not in value:
        return value
    try:
        text = value.decode() if isinstance(value, (bytes, bytearray)) else str(value)
        text.encode()
    except UnicodeError:
        raise BadEnvelope("an attribute is not UTF-8") from None
    if "\x00" in text:
        raise BadEnvelope("an attribute contains NUL")
    return text


def parse(headers: Mapping[str, Any], body: bytes, types: Mapping[str, type[Event]]) -> Envelope[Event]:
    """The event in a message. Raises BadEnvelope with a reason that quotes no data."""
    return read(attributes(headers), body, types)


def read(
    found: Mapping[str, str], body: bytes, types: Mapping[str, type[Event]], *, unknown: bool = False
) -> Envelope[Event]:
    """The same, of the attributes. `unknown`: an event of an unknown type is an UnknownEvent, and no error."""
    if missing := {"id", "source", "type", "subject", "time"} - found.keys():
        raise BadEnvelope(f"not a CloudEvent: missing {', '.join(sorted(missing))}")
    model = types.get(found["type"])
    if model is None and unknown:
        model = _unknown(found["type"])
    if model is None:
        raise UnrecognizedType(f"unknown event type {found['type'][:100]!r}")
    try:
        time = datetime.fromisoformat(found["time"])
    except ValueError:
        raise BadEnvelope("time is not an RFC 3339 timestamp") from None
    if time.tzinfo is None:
        raise BadEnvelope("time has no UTC offset")
    try:
        data = model.model_validate_json(body)
    except ValidationError as error:
        where = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['type']}" for e in error.errors()[:5])
        raise BadEnvelope(f"the data is not a valid {found['type']}: {where}") from None
    return Envelope(
        id=found["id"],
        source=found["source"],
        subject=found["subject"],
        time=time,
        data=data,
        correlation_id=found.get("correlationid", ""),
        causation_id=found.get("causationid", ""),
        traceparent=found.get("traceparent", ""),
        received=body,
    )
