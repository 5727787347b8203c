"""The problems that webhook-gateway answers, beside those of `kit.http.problems`. docs/errors.md lists them all."""

from __future__ import annotations

from kit.http.problems import ProblemType

BROKER_UNAVAILABLE = ProblemType(
    503, "broker_unavailable", "The broker did not do it.", "Look at the queue, and retry."
)
EVENT_CONFLICT = ProblemType(
    409, "event_conflict", "Another event with this id was received before.", "Report it to the operator."
)
NOT_AN_EVENT = ProblemType(
    400, "not_an_event", "The request body is not a Stripe event.", "Send the event byte for byte as Stripe signed it."
)
NOT_SCALABLE = ProblemType(422, "not_scalable", "No such consumers or relay.", "Name one of `allowed`.")
NO_STORE = ProblemType(503, "no_store", "The event could not be stored.", "Deliver it again.")
QUEUE_IN_USE = ProblemType(
    503, "queue_in_use", "Another request is reading or changing these dead letters.", "Retry when it is done."
)
RECONCILING = ProblemType(409, "reconciling", "A comparison is running.", "Retry when it is done.")
SIGNATURE_INVALID = ProblemType(
    400, "signature_invalid", "The signature does not match.", "Check the endpoint's signing secret."
)
SIGNATURE_MISSING = ProblemType(
    400,
    "signature_missing",
    "The Stripe-Signature header is missing.",
    "Only Stripe calls this, or a proxy that keeps its headers.",
)
SIGNATURE_STALE = ProblemType(
    400,
    "signature_stale",
    "The signature's timestamp is too far from the server's time.",
    "Check the server's clock; Stripe signs each delivery anew.",
)
STRIPE_NOT_CONFIGURED = ProblemType(
    503, "stripe_not_configured", "This process has no Stripe API key.", "Set STRIPE_API_KEY."
)
STRIPE_REJECTED = ProblemType(
    503, "stripe_rejected", "Stripe has refused to answer.", "Check STRIPE_READ_KEY and its rights."
)
TOO_MANY_EVENTS = ProblemType(
    422, "too_many_events", "Too many events are selected.", "Choose a later `since`, or `types`."
)
UNKNOWN_DEAD_LETTER = ProblemType(
    404, "unknown_dead_letter", "There is no such dead letter.", "GET /api/admin/dead-letters lists them."
)
UNKNOWN_QUEUE = ProblemType(
    404, "unknown_queue", "There is no such queue.", "GET /api/admin/dead-letters/queues lists them."
)
WRONG_ACCOUNT = ProblemType(
    400,
    "wrong_account",
    "The event is of another Stripe account.",
    "Remove the endpoint from that account, or set STRIPE_ACCOUNT.",
)
WRONG_MODE = ProblemType(
    400,
    "wrong_mode",
    "The event is of Stripe's other mode.",
    "Remove this endpoint from that mode's webhook endpoints, or set STRIPE_LIVEMODE.",
)
