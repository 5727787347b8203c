"""AsyncAPI 3.0 of a service: what it hears, on which queues, and what it says.

Written by ourselves because the events that a service says leave through its outbox, where no framework sees them.
Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from contracts.envelope import Event
from kit.messaging.outbox import EVENTS_EXCHANGE
from kit.messaging.topology import Queue


def asyncapi_document(
    *, title: str, queues: Sequence[Queue] = (), publishes: Sequence[type[Event]] = ()
) -> dict[str, Any]:
    heard = {event.type: event for queue in queues for event in queue.events}
    said = {event.type: event for event in publishes}
    everything = {**heard, **said}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": "1"},
        "defaultContentType": "application/json",
        "channels": {
            "events": {
                "address": EVENTS_EXCHANGE,
                "description": "Durable topic exchange; routing key = event type; CloudEvents 1.0 in binary mode.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in sorted(said)},
                "bindings": {"amqp": {"is": "routingKey", "exchange": _exchange(), "bindingVersion": "0.3.0"}},
            },
            **{queue.name: _queue(queue) for queue in queues},
        },
        "operations": {
            **({"say": _operation("send", "events", sorted(said))} if said else {}),
            **{
                f"hear {queue.name}": _operation("receive", queue.name, sorted(event.type for event in queue.events))
                for queue in queues
            },
        },
        "components": {"messages": {name: _message(event) for name, event in sorted(everything.items())}},
    }


@functools.cache
def _message(event: type[Event]) -> dict[str, Any]:
    """Cached per process: generating the JSON schemas takes most of the time that building an app takes."""
    schema = event.model_json_schema(ref_template=f"#/components/messages/{event.type}/payload/$defs/{{model}}")
    return {"name": event.type, "summary": " ".join((event.__doc__ or "").split()), "payload": schema}


def _exchange() -> dict[str, Any]:
    return {"name": EVENTS_EXCHANGE, "type": "topic", "durable": True, "autoDelete": False}


def _queue(queue: Queue) -> dict[str, Any]:
    return {
        "address": queue.name,
        "description": f"Quorum queue; what cannot be worked on goes to {queue.dead}.",
        "messages": {event.type: {"$ref": f"#/components/messages/{event.type}"} for event in queue.events},
        "bindings": {
            "amqp": {
                "is": "queue",
                "queue": {"name": queue.name, "durable": True, "exclusive": False, "autoDelete": False},
                "bindingVersion": "0.3.0",
            }
        },
    }


def _operation(action: str, channel: str, names: Sequence[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
    }
