"""The queue that reporting consumes: every event of every service."""

from __future__ import annotations

from contracts.registry import EVENT_TYPES, PUBLISHED_BY
from kit.messaging.topology import Queue
from kit.personal_data.erasure_requests import erasure_queue

SERVICE = "reporting"
EVENTS = Queue("reporting.events", events=tuple(EVENT_TYPES.values()), all_types=True)
ERASURES = erasure_queue(SERVICE)
QUEUES = (EVENTS, ERASURES)
PUBLISHES = PUBLISHED_BY[SERVICE]
