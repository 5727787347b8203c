"""A consumer: one queue, and what to do with each event that it hears, exactly once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from contracts.envelope import Envelope, Event
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.topology import Queue

Handler = Callable[[Envelope[Any], UnitOfWork], Awaitable[None]]
H = TypeVar("H", bound=Handler)


class Consumer:
    """
    ```
    enrollments = Consumer(SEATS)

    @enrollments.on(PaymentSucceeded)
    async def settle(heard: Envelope[PaymentSucceeded], work: Work) -> None: ...
    ```

    The handler runs inside one transaction, after the inbox has let the event in; whatever it raises rolls all of it
    back. Permanent failures go to the dead letters at once, everything else is tried again later (see `consuming`).
    """

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self._handlers: dict[str, Handler] = {}

    def on(self, *events: type[Event]) -> Callable[[H], H]:
        def register(handler: H) -> H:
            for event in events:
                if event not in self.queue.events:
                    raise ValueError(f"{self.queue.name} does not hear {event.type}")
                if event.type in self._handlers:
                    raise ValueError(f"{event.type} has a handler already")
                self._handlers[event.type] = handler
            return handler

        return register

    def handlers(self) -> Mapping[str, Handler]:
        """By event type. Raises ValueError when the queue hears an event that nobody handles."""
        if missing := {event.type for event in self.queue.events} - self._handlers.keys():
            raise ValueError(f"{self.queue.name} hears {', '.join(sorted(missing))} and nobody handles it")
        return self._handlers
