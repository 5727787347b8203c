"""The queues, the events on them, and the events that notifications publishes."""

from __future__ import annotations

from contracts.checkout import (
    CollectionStopped,
    InstallmentAnnounced,
    PaymentUnmatched,
    PurchaseCreated,
    ReceiptIssued,
    RefundDecided,
    RefundFailed,
    RefundRequested,
    StudentUpdated,
)
from contracts.enrollment import EnrollmentProgressed
from contracts.registry import OWN_EVENTS, PAYMENT_EVENTS, PUBLISHED_BY
from kit.messaging.topology import Queue
from kit.personal_data.erasure_requests import erasure_queue

SERVICE = "notifications"
PAYMENTS = Queue("notifications.payments", events=PAYMENT_EVENTS)
CHECKOUT = Queue(
    "notifications.checkout",
    events=(
        PurchaseCreated,
        StudentUpdated,
        RefundRequested,
        RefundDecided,
        RefundFailed,
        ReceiptIssued,
        InstallmentAnnounced,
        CollectionStopped,
        PaymentUnmatched,
    ),
)
ENROLLMENTS = Queue(
    "notifications.enrollments",
    events=tuple(event for event in OWN_EVENTS["enrollment"] if event is not EnrollmentProgressed),
)
INSTRUCTORS = Queue("notifications.instructors", events=OWN_EVENTS["instructor-assignment"])
MILADY = Queue("notifications.milady", events=OWN_EVENTS["milady-integration"])
ERASURES = erasure_queue(SERVICE)
QUEUES = (PAYMENTS, CHECKOUT, ENROLLMENTS, INSTRUCTORS, MILADY, ERASURES)
PUBLISHES = PUBLISHED_BY[SERVICE]
