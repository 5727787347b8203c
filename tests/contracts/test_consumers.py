"""Every event of ours has a queue that keeps it."""

from __future__ import annotations

from importlib import import_module

from contracts.registry import PUBLISHED_BY

SERVICES = [service for service in PUBLISHED_BY if service != "other systems"]


def test_every_event_is_bound_to_a_queue() -> None:
    queues = [queue for each in SERVICES for queue in import_module(f"{each.replace('-', '_')}.topology").QUEUES]
    bound = {event for queue in queues for event in queue.events}
    assert {event for events in PUBLISHED_BY.values() for event in events} <= bound
