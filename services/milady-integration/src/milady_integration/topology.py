"""What milady-integration hears and says."""

from __future__ import annotations

from contracts.checkout import PurchaseCreated
from contracts.registry import PAYMENT_EVENTS, SAID_BY
from kit.topology import Queue

SERVICE = "milady-integration"
PAYMENTS = Queue("milady-integration.payments", hears=PAYMENT_EVENTS)
PURCHASES = Queue("milady-integration.purchases", hears=(PurchaseCreated,))
QUEUES = (PAYMENTS, PURCHASES)
SAYS = SAID_BY[SERVICE]
