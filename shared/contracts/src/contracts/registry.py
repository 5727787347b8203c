"""Every event, by its publisher and by its type."""

from __future__ import annotations

from collections.abc import Mapping

from contracts import (
    audit,
    checkout,
    enrollment,
    erasure,
    event_requests,
    instructor_assignment,
    milady_integration,
    notifications,
    payments,
    reconciliation,
)
from contracts.envelope import Event

PAYMENT_EVENTS: tuple[type[payments.PaymentEvent], ...] = (
    payments.PaymentSucceeded,
    payments.PaymentPending,
    payments.PaymentFailed,
    payments.PaymentExpired,
    payments.PaymentRefunded,
    payments.PaymentDisputeOpened,
    payments.PaymentDisputeClosed,
    payments.PaymentActionRequired,
    payments.PaymentFraudWarned,
    payments.SubscriptionChanged,
    payments.SubscriptionScheduleEnded,
    payments.PurchaseRecorded,
    payments.PurchaseAccepted,
    payments.PurchaseEnded,
)

_DECISIONS = (payments.PurchaseRecorded, payments.PurchaseAccepted, payments.PurchaseEnded)
"""The payment events that only checkout publishes."""

OWN_EVENTS: Mapping[str, tuple[type[Event], ...]] = {
    "webhook-gateway": (
        *(event for event in PAYMENT_EVENTS if event not in _DECISIONS),
        payments.CustomerDeleted,
        payments.MandateRevoked,
        reconciliation.ReconciliationDifferenceFound,
        reconciliation.ReconciliationDifferenceResolved,
        reconciliation.ReconciliationCompleted,
    ),
    "checkout": (
        checkout.PurchaseCreated,
        checkout.StudentUpdated,
        checkout.StudentCaseManagerChanged,
        checkout.RefundRequested,
        checkout.RefundDecided,
        checkout.RefundFailed,
        checkout.InstallmentAnnounced,
        checkout.CollectionStopped,
        checkout.PaymentUnmatched,
        checkout.StripeEventsRequested,
        checkout.CatalogItemChanged,
        checkout.ReceiptIssued,
        erasure.StudentErasureRequested,
        *PAYMENT_EVENTS,
    ),
    "enrollment": (
        enrollment.EnrollmentPending,
        enrollment.EnrollmentActivated,
        enrollment.EnrollmentPaused,
        enrollment.EnrollmentResumed,
        enrollment.EnrollmentWithdrawn,
        enrollment.EnrollmentCompleted,
        enrollment.EnrollmentProgressed,
    ),
    "instructor-assignment": (
        instructor_assignment.InstructorAssigned,
        instructor_assignment.InstructorReleased,
        instructor_assignment.InstructorUnavailable,
    ),
    "milady-integration": (
        milady_integration.MiladyEnrolled,
        milady_integration.MiladyWithdrawn,
        milady_integration.MiladyFailed,
    ),
    "notifications": (notifications.NotificationSent, notifications.NotificationFailed),
    "reporting": (),
}
"""What each service reports of its own work."""

_OF_EVERY_SERVICE = (audit.AuditRecorded, erasure.StudentErased, event_requests.EventsRequested)

PUBLISHED_BY: Mapping[str, tuple[type[Event], ...]] = {
    **{service: (*events, *_OF_EVERY_SERVICE) for service, events in OWN_EVENTS.items()},
    "other systems": (checkout.CatalogItemRegistered,),
}

EVENT_TYPES: Mapping[str, type[Event]] = {event.type: event for events in PUBLISHED_BY.values() for event in events}
