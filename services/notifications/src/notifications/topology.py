"""What notifications hears and says."""

from __future__ import annotations

from contracts.checkout import PurchaseCreated, ReceiptIssued, RefundDecided, RefundRequested, StudentUpdated
from contracts.registry import PAYMENT_EVENTS, SAID_BY
from kit.topology import Queue

SERVICE = "notifications"
PAYMENTS = Queue("notifications.payments", hears=PAYMENT_EVENTS)
CHECKOUT = Queue(
    "notifications.checkout", hears=(PurchaseCreated, StudentUpdated, RefundRequested, RefundDecided, ReceiptIssued)
)
ENROLLMENTS = Queue("notifications.enrollments", hears=SAID_BY["enrollment"])
INSTRUCTORS = Queue("notifications.instructors", hears=SAID_BY["instructor-assignment"])
MILADY = Queue("notifications.milady", hears=SAID_BY["milady-integration"])
QUEUES = (PAYMENTS, CHECKOUT, ENROLLMENTS, INSTRUCTORS, MILADY)
SAYS = SAID_BY[SERVICE]
