"""The AsyncAPI document, by FastStream's generator, says of every event what travels."""

from __future__ import annotations

from typing import Any

import pytest
from faststream.rabbit import RabbitRouter
from tests.kit.events import paid

from contracts.envelope import Envelope, Event
from contracts.registry import EVENT_TYPES, PAYMENT_EVENTS
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.asyncapi import asyncapi_document
from kit.messaging.outbox import to_message
from kit.messaging.subscriber import carries, subscriber
from kit.messaging.topology import Queue

ALL = tuple(EVENT_TYPES.values())


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """A service that publishes all events and consumes the payments, by one handler and by several."""
    router = RabbitRouter()
    first, *others = PAYMENT_EVENTS
    one = subscriber(router, Queue("kit-tests.one", events=PAYMENT_EVENTS))
    several = subscriber(router, Queue("kit-tests.several", events=PAYMENT_EVENTS))

    async def handler(event: Envelope[Event], uow: UnitOfWork) -> None: ...

    async def other(event: Envelope[Event], uow: UnitOfWork) -> None: ...

    one(handler, filter=carries(*PAYMENT_EVENTS))
    several(handler, filter=carries(first))
    several(other, filter=carries(*others))
    return asyncapi_document(title="kit-tests", routers=[router], publishes=ALL)


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.type)
def test_the_payload_of_each_message_is_the_schema_of_its_event(document: dict[str, Any], event: type[Event]) -> None:
    schemas = document["components"]["schemas"]
    expected = event.model_json_schema(ref_template="#/components/schemas/{model}")
    for name, definition in expected.pop("$defs", {}).items():
        assert schemas[name] == definition
    message = document["components"]["messages"][event.type]
    assert schemas[message["payload"]["$ref"].removeprefix("#/components/schemas/")] == expected
    assert message["name"] == event.type


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.type)
def test_a_published_event_names_its_exchange_and_routing_key(document: dict[str, Any], event: type[Event]) -> None:
    channel, operation = document["channels"][event.type], document["operations"][event.type]
    assert channel["address"] == event.type
    assert channel["bindings"]["amqp"]["exchange"]["name"] == "bursar.events"
    assert operation["action"] == "send"
    assert operation["bindings"]["amqp"]["cc"] == [event.type]
    assert operation["bindings"]["amqp"]["deliveryMode"] == 2


@pytest.mark.parametrize("queue", ["kit-tests.one", "kit-tests.several"])
def test_a_queue_names_each_event_that_is_bound_to_it(document: dict[str, Any], queue: str) -> None:
    types = [event.type for event in PAYMENT_EVENTS]
    channel, operation = document["channels"][queue], document["operations"][queue]
    assert list(channel["messages"]) == types
    assert [each["$ref"].rpartition("/")[2] for each in operation["messages"]] == types
    assert operation["action"] == "receive"
    assert operation["bindings"]["amqp"]["cc"] == types
    assert channel["bindings"]["amqp"]["queue"] == {
        "name": queue,
        "durable": True,
        "exclusive": False,
        "autoDelete": False,
        "vhost": "/",
    }
    assert f"{queue}.dead" in channel["description"]


def test_the_headers_are_those_of_a_real_message(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["CloudEventHeaders"]
    headers = to_message(paid("evt_1")).headers
    assert schema["required"] == list(headers)
    assert headers.keys() < schema["properties"].keys()
    for message in document["components"]["messages"].values():
        assert message["headers"] == {"$ref": "#/components/schemas/CloudEventHeaders"}
        assert message["correlationId"]["location"].rpartition("/")[2] in schema["properties"]


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    found = references(document)
    assert found
    for reference in found:
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
