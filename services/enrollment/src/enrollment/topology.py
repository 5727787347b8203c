"""What enrollment hears and says."""

from __future__ import annotations

from contracts.checkout import CatalogItemChanged
from contracts.registry import PAYMENT_EVENTS, SAID_BY
from kit.topology import Queue

SERVICE = "enrollment"
PAYMENTS = Queue("enrollment.payments", hears=PAYMENT_EVENTS)
CATALOG = Queue("enrollment.catalog", hears=(CatalogItemChanged,))
QUEUES = (PAYMENTS, CATALOG)
SAYS = SAID_BY[SERVICE]
