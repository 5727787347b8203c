"""The queues that milady-integration consumes, and the events that it publishes."""

from __future__ import annotations

from contracts.checkout import PurchaseCreated, StudentUpdated
from contracts.registry import PAYMENT_EVENTS, PUBLISHED_BY
from kit.messaging.topology import Queue

SERVICE = "milady-integration"
PAYMENTS = Queue("milady-integration.payments", events=PAYMENT_EVENTS)
PURCHASES = Queue("milady-integration.purchases", events=(PurchaseCreated, StudentUpdated))
QUEUES = (PAYMENTS, PURCHASES)
PUBLISHES = PUBLISHED_BY[SERVICE]
