"""The problems that memberships answer, beside those of `checkout.problems`."""

from __future__ import annotations

from kit.http.problems import ProblemType

INTERVAL_NOT_OFFERED = ProblemType(
    422,
    "interval_not_offered",
    "This membership is not sold by this interval.",
    "Choose the other interval; GET /api/catalog has the prices.",
)
MEMBERSHIP_CURRENCY_MISMATCH = ProblemType(
    409, "currency_mismatch", "A membership cannot change its currency.", "Cancel this one, and buy the other."
)
MEMBERSHIP_ENDED = ProblemType(
    409, "membership_ended", "This membership has ended.", "Buy a new one: POST /api/memberships."
)
MEMBERSHIP_PAUSED = ProblemType(409, "membership_paused", "This membership is paused.", "Resume it first.")
NOTHING_TO_CHANGE = ProblemType(
    409, "nothing_to_change", "The membership already has this tier and interval.", "There is nothing to do."
)
NO_MEMBERSHIP = ProblemType(404, "no_membership", "You have no membership.", "Buy one: POST /api/memberships.")
PAYMENT_DECLINED = ProblemType(
    402, "payment_declined", "The payment was declined, and nothing has changed.", "Change the card, and try again."
)
PAYMENT_DUE = ProblemType(
    409, "payment_due", "A payment for this membership is due.", "Pay it first, or change the card that is charged."
)
PRICE_NOT_SET_UP = ProblemType(
    503,
    "price_not_set_up",
    "The price configured at Stripe for this membership differs from the catalog.",
    "Contact support.",
)
RESUMES_IN_THE_PAST = ProblemType(
    409, "resumes_in_the_past", "`resumes_at` is not in the future.", "Send a later time."
)
