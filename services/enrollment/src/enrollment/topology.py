"""The queues that enrollment consumes, and the events that it publishes."""

from __future__ import annotations

from contracts.checkout import CatalogItemChanged
from contracts.registry import PAYMENT_EVENTS, PUBLISHED_BY
from kit.messaging.caseload import caseload_queue
from kit.messaging.event_requests import request_queue
from kit.messaging.topology import Queue
from kit.personal_data.erasure_requests import erasure_queue

SERVICE = "enrollment"
PAYMENTS = Queue("enrollment.payments", events=PAYMENT_EVENTS)
CATALOG = Queue("enrollment.catalog", events=(CatalogItemChanged,))
CASELOAD = caseload_queue(SERVICE)
ERASURES = erasure_queue(SERVICE)
REQUESTS = request_queue(SERVICE)
QUEUES = (PAYMENTS, CATALOG, CASELOAD, ERASURES, REQUESTS)
PUBLISHES = PUBLISHED_BY[SERVICE]
