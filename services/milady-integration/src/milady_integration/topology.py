"""The queues that milady-integration consumes, and the events that it publishes."""

from __future__ import annotations

from contracts.checkout import PurchaseCreated, StudentUpdated
from contracts.registry import PAYMENT_EVENTS, PUBLISHED_BY
from kit.messaging.caseload import caseload_queue
from kit.messaging.event_requests import request_queue
from kit.messaging.topology import Queue
from kit.personal_data.erasure_requests import erasure_queue

SERVICE = "milady-integration"
PAYMENTS = Queue("milady-integration.payments", events=PAYMENT_EVENTS)
PURCHASES = Queue("milady-integration.purchases", events=(PurchaseCreated, StudentUpdated))
CASELOAD = caseload_queue(SERVICE)
ERASURES = erasure_queue(SERVICE)
REQUESTS = request_queue(SERVICE)
QUEUES = (PAYMENTS, PURCHASES, CASELOAD, ERASURES, REQUESTS)
PUBLISHES = PUBLISHED_BY[SERVICE]
