"""What checkout consumes and publishes."""

from __future__ import annotations

from contracts.checkout import CatalogItemRegistered
from contracts.erasure import StudentErased, StudentErasureRequested
from contracts.payments import CustomerDeleted, MandateRevoked
from contracts.registry import OWN_EVENTS, PAYMENT_EVENTS, PUBLISHED_BY
from kit.messaging.event_requests import request_queue
from kit.messaging.topology import Queue

SERVICE = "checkout"
PAYMENTS = Queue("checkout.payments", events=PAYMENT_EVENTS)
ENROLLMENTS = Queue("checkout.enrollments", events=OWN_EVENTS["enrollment"])
CATALOG = Queue("checkout.catalog", events=(CatalogItemRegistered,))
CUSTOMERS = Queue("checkout.customers", events=(CustomerDeleted, MandateRevoked))
ERASURES = Queue("checkout.erasures", events=(StudentErasureRequested, StudentErased))
REQUESTS = request_queue(SERVICE)
QUEUES = (PAYMENTS, ENROLLMENTS, CATALOG, CUSTOMERS, ERASURES, REQUESTS)
PUBLISHES = PUBLISHED_BY[SERVICE]
