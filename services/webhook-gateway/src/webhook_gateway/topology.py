"""The events that webhook-gateway publishes and consumes, and the queue that replaces the journal while the database is
down."""

from __future__ import annotations

from contracts.checkout import StripeEventsRequested
from contracts.registry import PUBLISHED_BY
from kit.messaging.event_requests import request_queue
from kit.messaging.topology import NO_LIMIT, Queue
from kit.personal_data.erasure_requests import erasure_queue

SERVICE = "webhook-gateway"
SPILL = Queue("webhook-gateway.spill", redelivery_limit=NO_LIMIT)
FETCHES = Queue("webhook-gateway.fetches", events=(StripeEventsRequested,))
ERASURES = erasure_queue(SERVICE)
REQUESTS = request_queue(SERVICE)
QUEUES = (SPILL, FETCHES, ERASURES, REQUESTS)
PUBLISHES = PUBLISHED_BY[SERVICE]
