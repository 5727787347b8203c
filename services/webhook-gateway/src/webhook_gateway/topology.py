"""What webhook-gateway says, and the queue that stands in for its journal while the database is away."""

from __future__ import annotations

from contracts.registry import PUBLISHED_BY
from kit.messaging.topology import NO_LIMIT, Queue

SERVICE = "webhook-gateway"
SPILL = Queue("webhook-gateway.spill", redelivery_limit=NO_LIMIT)
QUEUES = (SPILL,)
PUBLISHES = PUBLISHED_BY[SERVICE]
