"""The queue that instructor-assignment consumes, and the events that it publishes."""

from __future__ import annotations

from contracts.registry import PAYMENT_EVENTS, PUBLISHED_BY
from kit.messaging.caseload import caseload_queue
from kit.messaging.event_requests import request_queue
from kit.messaging.topology import Queue
from kit.personal_data.erasure_requests import erasure_queue

SERVICE = "instructor-assignment"
PAYMENTS = Queue("instructor-assignment.payments", events=PAYMENT_EVENTS)
CASELOAD = caseload_queue(SERVICE)
ERASURES = erasure_queue(SERVICE)
REQUESTS = request_queue(SERVICE)
QUEUES = (PAYMENTS, CASELOAD, ERASURES, REQUESTS)
PUBLISHES = PUBLISHED_BY[SERVICE]
