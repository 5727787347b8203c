"""Handlers of one queue, registered by event. Replaced by `subscriber`; goes when the last service has moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from faststream.rabbit import RabbitRouter

from contracts.envelope import Envelope, Event
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.inbox import Handler
from kit.messaging.subscriber import carries, subscriber
from kit.messaging.topology import Queue

H = TypeVar("H", bound=Handler)


class Consumer:
    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.router = RabbitRouter()
        self._subscriber = subscriber(self.router, queue)
        self._handlers: dict[str, Handler] = {}

    def on(self, *events: type[Event]) -> Callable[[H], H]:
        def register(handler: H) -> H:
            @self._subscriber(filter=carries(*events))
            async def call(event: Envelope[Any], uow: UnitOfWork) -> None:
                await handler(event, uow)

            for event in events:
                if event not in self.queue.events:
                    raise ValueError(f"{self.queue.name} does not hear {event.type}")
                if event.type in self._handlers:
                    raise ValueError(f"{event.type} has a handler already")
                self._handlers[event.type] = handler
            return handler

        return register

    def handlers(self) -> Mapping[str, Handler]:
        return self._handlers
