"""What checkout hears and says."""

from __future__ import annotations

from contracts.checkout import CatalogItemRegistered
from contracts.registry import PAYMENT_EVENTS, SAID_BY
from kit.topology import Queue

SERVICE = "checkout"
PAYMENTS = Queue("checkout.payments", hears=PAYMENT_EVENTS)
ENROLLMENTS = Queue("checkout.enrollments", hears=SAID_BY["enrollment"])
CATALOG = Queue("checkout.catalog", hears=(CatalogItemRegistered,))
QUEUES = (PAYMENTS, ENROLLMENTS, CATALOG)
SAYS = SAID_BY[SERVICE]
