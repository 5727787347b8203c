"""What instructor-assignment hears and says."""

from __future__ import annotations

from contracts.registry import PAYMENT_EVENTS, SAID_BY
from kit.topology import Queue

SERVICE = "instructor-assignment"
PAYMENTS = Queue("instructor-assignment.payments", hears=PAYMENT_EVENTS)
QUEUES = (PAYMENTS,)
SAYS = SAID_BY[SERVICE]
