"""The queue that instructor-assignment consumes, and the events that it publishes."""

from __future__ import annotations

from contracts.registry import PAYMENT_EVENTS, PUBLISHED_BY
from kit.messaging.topology import Queue

SERVICE = "instructor-assignment"
PAYMENTS = Queue("instructor-assignment.payments", events=PAYMENT_EVENTS)
QUEUES = (PAYMENTS,)
PUBLISHES = PUBLISHED_BY[SERVICE]
