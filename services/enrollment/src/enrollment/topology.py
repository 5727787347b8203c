"""The queues that enrollment consumes, and the events that it publishes."""

from __future__ import annotations

from contracts.checkout import CatalogItemChanged
from contracts.registry import PAYMENT_EVENTS, PUBLISHED_BY
from kit.messaging.topology import BATCHED_PREFETCH, Queue

SERVICE = "enrollment"
PAYMENTS = Queue("enrollment.payments", events=PAYMENT_EVENTS, prefetch=BATCHED_PREFETCH)
CATALOG = Queue("enrollment.catalog", events=(CatalogItemChanged,))
QUEUES = (PAYMENTS, CATALOG)
PUBLISHES = PUBLISHED_BY[SERVICE]
