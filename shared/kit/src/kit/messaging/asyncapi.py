"""AsyncAPI 3.0 of a service, by FastStream's generator: the queues that it consumes and the events that it publishes.

Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faststream.rabbit import ExchangeType, RabbitBroker, RabbitExchange, RabbitRouter
from faststream.specification import AsyncAPI

from contracts.envelope import PREFIX, Event
from contracts.registry import EVENT_TYPES
from kit.messaging.outbox import EVENTS_EXCHANGE
from kit.messaging.subscriber import carries, handlers, subscribers_of

_HEADERS = "CloudEventHeaders"


def asyncapi_document(
    *, title: str, routers: Sequence[RabbitRouter] = (), publishes: Sequence[type[Event]] = ()
) -> dict[str, Any]:
    """What these routers consume, and these events."""
    consumed = {each.queue.name: [EVENT_TYPES[type_] for type_ in handlers(each)] for each in subscribers_of(routers)}
    documented = RabbitRouter()
    for subscriber in subscribers_of(routers):
        copy = documented.subscriber(
            subscriber.queue, title=subscriber.queue.name, description=subscriber.specification.description
        )
        for event in consumed[subscriber.queue.name]:
            copy(_takes_body(event), filter=carries(event))
    exchange = RabbitExchange(EVENTS_EXCHANGE, type=ExchangeType.TOPIC, durable=True)
    for event in publishes:
        # only for the document: the relay publishes
        documented.publisher(
            exchange=exchange, routing_key=event.type, persist=True, mandatory=False, title=event.type, schema=event
        )
    generated = AsyncAPI(RabbitBroker(routers=[documented], logger=None), title=title, version="1")
    document: dict[str, Any] = generated.to_specification().to_jsonable()
    return _completed(document, consumed, publishes)


def _takes_body(event: type[Event]) -> Any:
    """FastStream documents the parameters of a handler. Ours take the envelope and the unit of work; the body carries
    the event alone, and the envelope's attributes travel as headers."""

    async def handler(event: Any) -> None: ...

    handler.__name__ = event.type
    handler.__annotations__ = {"event": event, "return": None}
    return handler


def _completed(
    document: dict[str, Any], consumed: dict[str, list[type[Event]]], publishes: Sequence[type[Event]]
) -> dict[str, Any]:
    """Adds what FastStream cannot say: the messages of a queue, each with its own name and headers (FastStream has one
    message per subscriber, with alternative payloads), and the routing keys that are bound to the queue. Removes the
    server that FastStream always adds: its address depends on the deployment."""
    document.pop("servers")
    messages = {queue: [event.type for event in events] for queue, events in consumed.items()}
    messages |= {event.type: [event.type] for event in publishes}
    for name, types in messages.items():
        channel, operation = document["channels"][name], document["operations"][name]
        channel.pop("servers")
        operation["bindings"]["amqp"]["cc"] = types
        channel["messages"] = {type_: {"$ref": f"#/components/messages/{type_}"} for type_ in types}
        operation["messages"] = [{"$ref": f"#/channels/{name}/messages/{type_}"} for type_ in types]
    events = {event.type: event for events in (*consumed.values(), publishes) for event in events}
    document["components"]["messages"] = {name: _message(event) for name, event in sorted(events.items())}
    document["components"]["schemas"][_HEADERS] = _headers()
    return document


def _message(event: type[Event]) -> dict[str, Any]:
    return {
        "name": event.type,
        "summary": " ".join((event.__doc__ or "").split()),
        "correlationId": {"location": f"$message.header#/{PREFIX}correlationid"},
        "headers": {"$ref": f"#/components/schemas/{_HEADERS}"},
        "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
    }


def _headers() -> dict[str, Any]:
    required = ("specversion", "id", "source", "type", "subject", "time")
    optional = ("correlationid", "causationid", "traceparent")
    return {
        "title": _HEADERS,
        "description": "CloudEvents 1.0, AMQP binary mode. The routing key is the type.",
        "type": "object",
        "properties": {f"{PREFIX}{name}": {"type": "string"} for name in (*required, *optional)},
        "required": [f"{PREFIX}{name}" for name in required],
    }
