"""Handlers of events on FastStream's own router:

    def catalog() -> RabbitRouter:
        router = RabbitRouter()
        catalog = subscriber(router, CATALOG)

        @catalog(filter=carries(CatalogItemChanged))
        async def update_curriculum(event: Envelope[CatalogItemChanged], uow: UnitOfWork) -> None: ...

        return router

A handler runs inside one transaction, after the inbox has let the event in; any exception rolls back all of it.
The transaction may be shared with other messages of the queue (see `batches`): a handler sees what those before it have
written, and must not depend on the order of messages, nor on its own messages and jobs being in their tables yet.
Permanent failures are dead-lettered at once, everything else is rescheduled (see `middleware`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from aio_pika import IncomingMessage
from faststream import AckPolicy
from faststream.rabbit import Channel, QueueType, RabbitMessage, RabbitQueue, RabbitRouter
from faststream.rabbit.subscriber import RabbitSubscriber

from contracts.envelope import BadEnvelope, Envelope, Event, UnknownEvent, attributes
from contracts.registry import EVENT_TYPES
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.event_facts import FactRules
from kit.messaging.inbox import Handler
from kit.messaging.projection import Projection
from kit.messaging.topology import Queue


def subscriber(router: RabbitRouter, queue: Queue) -> RabbitSubscriber:
    """FastStream's subscriber of a queue. The middleware decodes and acknowledges its messages."""
    return router.subscriber(
        RabbitQueue(queue.name, queue_type=QueueType.QUORUM, durable=True, declare=False),  # see `topology.declare`
        channel=Channel(prefetch_count=queue.prefetch),
        ack_policy=AckPolicy.MANUAL,
        no_reply=True,
        parser=_received,
        title=queue.name,
        description=f"Quorum queue. Messages that cannot be processed go to {queue.dead}.",
    )


BatchHandler = Callable[[UnitOfWork, Sequence[Envelope[Any]]], Awaitable[object]]
"""Handles many events in one transaction. Its unit of work has no cause."""


class EventMessage(RabbitMessage):
    """A delivered message whose CloudEvents attributes are read once."""

    @cached_property
    def attributes(self) -> dict[str, str]:
        """Raises BadEnvelope if one of them is not text."""
        return attributes(self.headers)


async def _received(message: IncomingMessage) -> EventMessage:
    """Without ids of FastStream's own, which nobody reads."""
    return EventMessage(message, message.body, headers=message.headers, correlation_id=message.correlation_id or "none")


@dataclass(frozen=True)
class EventFilter:
    """A FastStream filter. Asynchronous, because FastStream runs synchronous ones in a thread, once per message."""

    events: tuple[type[Event], ...]
    merging: FactRules | None = None
    together: BatchHandler | None = None
    unknown: bool = False

    @cached_property
    def _types(self) -> frozenset[str]:
        return frozenset(event.type for event in self.events)

    async def __call__(self, message: EventMessage) -> bool:
        try:
            type_ = message.attributes.get("type")
            return type_ in self._types or (self.unknown and type_ not in EVENT_TYPES)
        except BadEnvelope:
            return False  # no handler takes it: the middleware dead-letters it


def carries(
    *events: type[Event],
    merging: FactRules | None = None,
    together: BatchHandler | None = None,
    unknown: bool = False,
) -> EventFilter:
    """Takes the messages that carry one of these events.

    together: called with all of these events of a batch, instead of the handler for each. For one event it must do the
              same as the handler
    merging:  with these rules all events of a batch are merged first, in one step, and `together` is called for each
              group with its events; `UnitOfWork.merge` of any of them then returns the group
    unknown:  takes events of unknown types as well, for a queue of `all_types`
    """
    return EventFilter(events, merging=merging, together=together, unknown=unknown)


def projects(projection: Projection[Any, Any], *events: type[Event]) -> EventFilter:
    """Takes the messages that carry one of these events, for a handler that only applies the projection. It is applied
    to all of these messages of a batch together."""
    return EventFilter(events, together=projection.apply_all)


def filters(subscriber: RabbitSubscriber) -> Mapping[str, EventFilter]:
    """event type -> the filter that takes it; for unknown types: that of UnknownEvent"""
    found = [call.filter for call in subscriber.calls if isinstance(call.filter, EventFilter)]
    by_type = {event.type: each for each in found for event in each.events}
    by_type.update((UnknownEvent.type, each) for each in found if each.unknown)
    return by_type


def handlers(subscriber: RabbitSubscriber) -> Mapping[str, Handler]:
    """The handler of each event type. Raises ValueError for a handler without events and for an event with two."""
    found: dict[str, Handler] = {}
    for call in subscriber.calls:
        if not isinstance(call.filter, EventFilter):
            raise ValueError(f"{subscriber.queue.name}: {call.name} needs filter=carries(...)")
        for event in call.filter.events:
            if event.type in found:
                raise ValueError(f"{subscriber.queue.name}: {event.type} has two handlers")
            found[event.type] = call.handler
    return found


def subscribers_of(routers: Iterable[RabbitRouter]) -> list[RabbitSubscriber]:
    return [each for router in routers for each in router.subscribers if isinstance(each, RabbitSubscriber)]


def check_handlers(routers: Iterable[RabbitRouter], queues: Iterable[Queue]) -> None:
    """Raises ValueError unless each queue has one subscriber, with one handler for each event bound to it."""
    subscribers = subscribers_of(routers)
    bound = {queue.name: {event.type for event in queue.events} for queue in queues}
    names = [subscriber.queue.name for subscriber in subscribers]
    if sorted(names) != sorted(bound):
        raise ValueError(f"queues {sorted(bound)}, but subscribers of {sorted(names)}")
    for subscriber in subscribers:
        name, handled = subscriber.queue.name, handlers(subscriber).keys()
        if missing := bound[name] - handled:
            raise ValueError(f"{name} has no handler for {', '.join(sorted(missing))}")
        if unbound := handled - bound[name]:
            raise ValueError(f"{name} handles {', '.join(sorted(unbound))}, which is not bound to it")
