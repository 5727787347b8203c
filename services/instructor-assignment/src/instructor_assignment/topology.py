"""The queue that instructor-assignment consumes, and the events that it publishes."""

from __future__ import annotations

from contracts.registry import PAYMENT_EVENTS, PUBLISHED_BY
from kit.messaging.event_requests import request_queue
from kit.messaging.topology import Queue
from kit.personal_data.erasure_requests import erasure_queue

SERVICE = "instructor-assignment"
PAYMENTS = Queue("instructor-assignment.payments", events=PAYMENT_EVENTS)
ERASURES = erasure_queue(SERVICE)
REQUESTS = request_queue(SERVICE)
QUEUES = (PAYMENTS, ERASURES, REQUESTS)
PUBLISHES = PUBLISHED_BY[SERVICE]
