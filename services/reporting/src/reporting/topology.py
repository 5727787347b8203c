"""The queues that reporting consumes: every event of every service, and again what the figures are counted from."""

from __future__ import annotations

from contracts.checkout import CatalogItemChanged
from contracts.registry import EVENT_TYPES, PAYMENT_EVENTS, PUBLISHED_BY
from kit.messaging.topology import Queue
from kit.personal_data.erasure_requests import erasure_queue

SERVICE = "reporting"
EVENTS = Queue("reporting.events", events=tuple(EVENT_TYPES.values()), all_types=True)
PAYMENTS = Queue("reporting.payments", events=PAYMENT_EVENTS)
CATALOG = Queue("reporting.catalog", events=(CatalogItemChanged,))
ERASURES = erasure_queue(SERVICE)
QUEUES = (EVENTS, PAYMENTS, CATALOG, ERASURES)
PUBLISHES = PUBLISHED_BY[SERVICE]
