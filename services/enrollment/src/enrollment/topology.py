"""The queues that enrollment consumes, and the events that it publishes."""

from __future__ import annotations

from contracts.checkout import CatalogItemChanged
from contracts.registry import PAYMENT_EVENTS, PUBLISHED_BY
from kit.messaging.topology import Queue

SERVICE = "enrollment"
PAYMENTS = Queue("enrollment.payments", events=PAYMENT_EVENTS)
CATALOG = Queue("enrollment.catalog", events=(CatalogItemChanged,))
QUEUES = (PAYMENTS, CATALOG)
PUBLISHES = PUBLISHED_BY[SERVICE]
