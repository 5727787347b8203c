"""The problems that payments, refunds and saved methods answer, beside those of `checkout.problems`."""

from __future__ import annotations

from kit.http.problems import ProblemType

AMOUNT_INVALID = ProblemType(422, "amount_invalid", "The refund amount is not valid.", "It must be at least 1.")
AMOUNT_TOO_LARGE = ProblemType(
    422, "amount_too_large", "Amount exceeds the refundable balance (`left`).", "Send at most that."
)
COURSE_COMPLETED = ProblemType(
    409,
    "course_completed",
    "The course is completed.",
    "Send a refund request (POST /api/payments/request-refund), and an admin will decide.",
)
COURSE_IN_PROGRESS = ProblemType(
    409,
    "course_in_progress",
    "Too much of the course is done to refund it without an admin.",
    "Send a refund request (POST /api/payments/request-refund), and an admin will decide.",
)
NOTHING_TO_REFUND = ProblemType(
    409,
    "nothing_to_refund",
    "This payment has been refunded in full, or the refunds are pending.",
    "There is nothing to refund.",
)
NOTHING_WAS_PAID = ProblemType(
    409, "nothing_was_paid", "This payment was waived or fully discounted.", "There is no money to refund."
)
PAID_BY_HAND = ProblemType(
    403,
    "paid_by_hand",
    "Some of it was paid by cash, check or transfer, which an admin returns.",
    "Send a refund request (POST /api/payments/request-refund), and an admin will decide.",
)
PARTIAL_REFUND_NEEDS_ADMIN = ProblemType(
    403,
    "partial_refund_needs_admin",
    "You can refund only the whole purchase.",
    "Omit `amount`, or send `left`. Send a refund request (POST /api/payments/request-refund), and an admin "
    "will decide.",
)
PAYMENT_DISPUTED = ProblemType(
    409, "payment_disputed", "This payment is disputed.", "It is resolved with the payer's bank, not by a refund."
)
PAYMENT_METHOD_NOT_ACCEPTED = ProblemType(
    409,
    "payment_method_not_accepted",
    "Stripe does not accept this payment method for your membership or plan.",
    "Choose another one.",
)
PAYMENT_NOT_SUCCEEDED = ProblemType(
    409, "payment_not_succeeded", "This payment has not succeeded.", "There is nothing to refund."
)
PAYMENT_PROCESSING = ProblemType(
    409, "payment_processing", "A bank debit of this purchase is still processing.", "Wait until it has settled."
)
PORTAL_REFUSED = ProblemType(
    502, "portal_refused", "Stripe rejected the request for a billing portal.", "Please contact support."
)
PURCHASE_ENDED = ProblemType(
    409,
    "purchase_ended",
    "This purchase has ended.",
    "Send a refund request (POST /api/payments/request-refund), and an admin will decide.",
)
REFUNDABLE_AT_STRIPE = ProblemType(409, "refundable_at_stripe", "Stripe can refund this payment.", "Omit `by_hand`.")
REFUND_CHANNEL_UNKNOWN = ProblemType(
    409,
    "refund_channel_unknown",
    "Stripe has no payment that it could refund: it was paid outside Stripe.",
    "An admin returns it by hand, and records that with `by_hand`.",
)
REFUND_CREDITED = ProblemType(
    409,
    "refund_credited",
    "All of it was credited to you for your next invoices.",
    "Send a refund request (POST /api/payments/request-refund), and an admin will decide.",
)
REFUND_REQUEST_DECIDED = ProblemType(
    409, "refund_request_decided", "This refund request is already decided (`decision`).", "It cannot be decided again."
)
REFUND_REQUEST_PENDING = ProblemType(
    409,
    "refund_request_pending",
    "You have already requested this refund.",
    "An admin will decide, and you will be notified.",
)
REFUND_WINDOW_OVER = ProblemType(
    409,
    "refund_window_over",
    "The refund window is over.",
    "Send a refund request (POST /api/payments/request-refund), and an admin will decide.",
)
SPECIALIST_MISSING = ProblemType(422, "specialist_missing", "Admins must name a specialist.", "Send `specialist_id`.")
UNKNOWN_DISPUTE = ProblemType(404, "unknown_dispute", "Dispute not found.", "GET /api/admin/disputes lists them.")
UNKNOWN_PAYMENT_METHOD = ProblemType(
    404, "unknown_payment_method", "Payment method not found.", "GET /api/payments/methods lists yours."
)
UNKNOWN_REFUND_REQUEST = ProblemType(
    404, "unknown_refund_request", "Refund request not found.", "GET /api/admin/refund-requests lists them."
)
