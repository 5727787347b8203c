"""The events that webhook-gateway publishes, and the queue that replaces the journal while the database is down."""

from __future__ import annotations

from contracts.registry import PUBLISHED_BY
from kit.messaging.topology import NO_LIMIT, Queue

SERVICE = "webhook-gateway"
SPILL = Queue("webhook-gateway.spill", redelivery_limit=NO_LIMIT)
QUEUES = (SPILL,)
PUBLISHES = PUBLISHED_BY[SERVICE]
