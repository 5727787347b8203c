"""The problems that the catalog and its promotion codes answer, beside those of `checkout.problems`."""

from __future__ import annotations

from kit.http.problems import ProblemType

ALREADY_THERE = ProblemType(409, "already_there", "One with this name exists already.", "Change that one.")
CANNOT_BE_REGISTERED = ProblemType(
    422,
    "cannot_be_registered",
    "A product of this type cannot be registered.",
    "Create the item: POST /api/admin/items.",
)
IN_A_BUNDLE = ProblemType(
    409,
    "in_a_bundle",
    "This item is part of a bundle, and both have the same currency.",
    "Take it out of the bundle first.",
)
NO_ANNUAL_PRICE = ProblemType(
    422, "no_annual_price", "This item has no annual price.", "Ask for the monthly one: `interval=month`."
)
NO_CODE_FOUND = ProblemType(503, "no_code_found", "No unused code was found.", "Try again.")
NO_FREE_SLUG = ProblemType(
    409,
    "no_free_slug",
    "Every slug that can be derived from this product_id is taken by other items.",
    "Rename one of them, or use another product_id.",
)
NO_REFERRAL_CODE = ProblemType(
    404, "no_referral_code", "You have no referral code yet.", "Create it: POST /api/referral-code."
)
OF_ANOTHER_TYPE = ProblemType(
    409, "of_another_type", "This product_id is the id of an item of another kind.", "Use another product_id."
)
PRICES_REQUIRED = ProblemType(
    422, "prices_required", "The currency was changed without the prices.", "Send the prices in the new currency, too."
)
PROMOTION_CHANGED = ProblemType(
    409, "promotion_changed", "This promotion code changed while this request was processed.", "Check the price again."
)
PROMOTION_CURRENCY_MISMATCH = ProblemType(
    409, "promotion_currency_mismatch", "This promotion code is for another currency.", "Buy without it."
)
PROMOTION_HELD_BY_GUESTS = ProblemType(
    409,
    "promotion_held_by_guests",
    "Other guests are using this promotion code.",
    "Sign in, or try again in half an hour.",
)
PROMOTION_INACTIVE = ProblemType(409, "promotion_inactive", "This promotion code is not active.", "Buy without it.")
PROMOTION_NOT_FOR_GUESTS = ProblemType(
    409,
    "promotion_not_for_guests",
    "This promotion code is for students who have signed in.",
    "Sign in, or buy without it.",
)
PROMOTION_NOT_FOR_THIS = ProblemType(
    409, "promotion_not_for_this", "This promotion code does not apply to this item.", "Buy without it."
)
PROMOTION_NOT_YET = ProblemType(
    409, "promotion_not_yet", "This promotion code is not valid yet.", "Buy without it, or later."
)
PROMOTION_OVER = ProblemType(409, "promotion_over", "This promotion code has expired.", "Buy without it.")
PROMOTION_OWN_REFERRAL = ProblemType(
    409, "promotion_own_referral", "You cannot use your own referral code.", "Buy without it."
)
PROMOTION_USED_BY_YOU = ProblemType(
    409, "promotion_used_by_you", "You have used this promotion code as often as it allows.", "Buy without it."
)
PROMOTION_USED_UP = ProblemType(409, "promotion_used_up", "This promotion code is used up.", "Buy without it.")
UNKNOWN_PART = ProblemType(
    422, "unknown_item", "The request names an item that does not exist.", "GET /api/admin/items lists them."
)
