"""The problems that checkout answers, beside those of `kit.http.problems`. docs/errors.md lists them all."""

from __future__ import annotations

from kit.http.problems import ProblemType

ALREADY_ENROLLED = ProblemType(
    409,
    "already_enrolled",
    "This student is already enrolled in this program; nothing was charged.",
    "There is nothing to do.",
)
ALREADY_PAID = ProblemType(
    409, "already_paid", "This installment is already paid or waived; nothing was charged.", "There is nothing to do."
)
AMOUNT_NOT_PAYABLE = ProblemType(
    422,
    "amount_not_payable",
    "No payment method accepts this amount for this kind of payment.",
    "GET /api/payment-methods says what each one accepts.",
)
BUSY = ProblemType(503, "busy", "The purchase is being changed by another request.", "Open the link again in a moment.")
CHECKOUT_BUSY = ProblemType(409, "checkout_busy", "Other requests are changing this purchase.", "Try again.")
COLLECTION_STOPPED = ProblemType(
    409,
    "collection_stopped",
    "Payments of this purchase are being checked by the school.",
    "Nothing can be paid until it is done.",
)
COURSE_ALREADY_BOUGHT = ProblemType(
    400,
    "already_enrolled",
    "This student is already enrolled in this course; nothing was charged.",
    "There is nothing to do.",
)
CURRENCY_MISMATCH = ProblemType(
    409, "currency_mismatch", "The currency sent is not the item's.", "Display and send the right one, `currency`."
)
DUE_DATE_OUT_OF_RANGE = ProblemType(
    422, "due_date_out_of_range", "The due date is out of range.", "It must be within the next three years."
)
ENROLLMENT_OVER = ProblemType(409, "enrollment_over", "This enrollment has ended.", "Nothing is owed for it.")
ERASURE_BLOCKED = ProblemType(
    409,
    "erasure_blocked",
    "Something that concerns the student is not settled (`blocks`).",
    "Settle it, and request the erasure again.",
)
CO_PAY_REFUSED = ProblemType(
    422,
    "co_pay_refused",
    "A co-pay is part of the price, in its currency, and leaves at least 0.50 for the sponsor.",
    "State a lower amount.",
)
CO_PAY_UNTAXED = ProblemType(
    409,
    "co_pay_untaxed",
    "Tax cannot be added to a co-pay.",
    "Have the sponsor pay all of it, or turn Stripe Tax off.",
)
FIRST_INSTALLMENT_DUE = ProblemType(
    409, "first_installment_due", "Pay the first installment first.", "It opens the enrollment."
)
FUNDING_SOURCE_MISSING = ProblemType(
    422,
    "funding_source_missing",
    "An authorization number, a training period and a co-pay belong to a sponsor's purchase.",
    "Name the funding source.",
)
INSTALLMENT_BUSY = ProblemType(
    409, "installment_busy", "This installment is being changed by another request.", "Try again."
)
INSTALLMENT_CLOSED = ProblemType(
    409, "installment_closed", "This installment is no longer owed.", "GET /api/enrollments/{id}/payment lists what is."
)
INSTALLMENT_OVERDUE = ProblemType(
    409, "installment_overdue", "This installment is overdue and no longer collected.", "Change its due date instead."
)
INVOICE_NOT_READY = ProblemType(
    503, "invoice_not_ready", "The invoice is being prepared.", "Open the link again in a moment."
)
NOTHING_DUE = ProblemType(409, "nothing_due", "Nothing is left to pay.", "There is nothing to do.")
NOTHING_OWED = ProblemType(
    410,
    "nothing_owed",
    "This has expired or was withdrawn, so nothing is owed for it.",
    "To buy it all the same, start again.",
)
NOT_FOUND = ProblemType(404, "not_found", "The test clock is disabled.", "Only a process with TEST_CLOCK has it.")
NOT_IN_CASELOAD = ProblemType(
    403,
    "not_in_caseload",
    "The student is not in your caseload.",
    "Ask an admin: PUT /api/admin/students/{id}/case-manager.",
)
NOT_UNDERPAID = ProblemType(
    409, "not_underpaid", "Nothing is missing of what is due for this purchase.", "There is nothing to accept."
)
NO_ENROLLMENT = ProblemType(409, "no_enrollment", "Merchandise gives no enrollment.", "Buy it: POST /api/checkout.")
NO_FINANCE_EMAIL = ProblemType(
    409,
    "no_finance_email",
    "There is no address for the sponsor's invoice.",
    "Give the sponsor a finance_email, or set SPONSOR_FINANCE_EMAIL.",
)
NO_INVOICE = ProblemType(
    404, "no_invoice", "There is no invoice for this payment.", "Only what a sponsor pays has one."
)
NO_LONGER_PAYABLE = ProblemType(
    410, "no_longer_payable", "This can no longer be paid by this link (`reason`).", "Start the purchase again."
)
PAID_ON_PAGE = ProblemType(
    409,
    "paid_on_page",
    "The first installment is paid on its page.",
    "POST /api/create-checkout-session returns its URL.",
)
OVER_CAP = ProblemType(
    409,
    "over_cap",
    "The sponsor would owe more than it has authorized (`amount`, all items of this authorization number).",
    "Ask the sponsor for a higher amount.",
)
PAYMENT_IN_PROGRESS = ProblemType(
    409, "payment_in_progress", "This has been paid, or the payment is being processed.", "Wait for the enrollment."
)
PAYMENT_REFUSED = ProblemType(502, "payment_refused", "Stripe rejected this payment.", "Please contact support.")
PAYMENT_RESOLVED = ProblemType(
    409,
    "payment_resolved",
    "This payment is resolved already (`resolution`).",
    "GET /api/admin/unmatched-payments lists others.",
)
PRICE_CHANGED = ProblemType(
    409,
    "price_changed",
    "The item or its price changed while this request was processed.",
    "Check the price, and send the request again.",
)
PRICE_MISMATCH = ProblemType(
    409,
    "price_mismatch",
    "The price sent is not the catalog's.",
    "Display and send the right one: `price` (major units), `amount` (minor units).",
)
PRODUCT_INACTIVE = ProblemType(
    409, "product_inactive", "This product is no longer sold.", "GET /api/catalog lists the products on sale."
)
PROGRAM_MISMATCH = ProblemType(
    422, "program_mismatch", "programId and programSlug name two different programs.", "Send one of them."
)
REDIRECT_NOT_ALLOWED = ProblemType(
    422, "redirect_not_allowed", "The origin of a redirect is not on the allow-list.", "Use the front end's own origin."
)
REFERENCE_ALREADY_RECORDED = ProblemType(
    409,
    "reference_already_recorded",
    "This reference is already recorded for another installment.",
    "Every payment needs its own reference.",
)
REFUND_TOO_LARGE = ProblemType(
    422, "refund_too_large", "Amount exceeds what was paid and not yet refunded (`most`).", "Send at most that."
)
SPONSOR_PAYMENT_OPEN = ProblemType(
    409, "sponsor_payment_open", "A sponsor has been asked to pay for this.", "Ask the case manager."
)
SPONSOR_HAS_NOT_PAID = ProblemType(
    409,
    "sponsor_has_not_paid",
    "A co-pay is owed when the sponsor has paid.",
    "Wait for the sponsor's payment.",
)
SPONSOR_MUST_PAY = ProblemType(
    409,
    "sponsor_must_pay",
    "What the sponsor owes cannot be waived while the student owes a co-pay: what is waived is not owed.",
    "Cancel the purchase, and start it without the sponsor.",
)
SPONSOR_PAYS = ProblemType(409, "sponsor_pays", "A sponsor pays for this.", "Ask the case manager, or an admin.")
STILL_CONTRADICTORY = ProblemType(
    409,
    "still_contradictory",
    "The amounts still contradict one another.",
    "Refund what was paid too much, then resume.",
)
STRIPE_NOT_CONFIGURED = ProblemType(
    503, "stripe_not_configured", "This school takes no payments through Stripe.", "Ask an admin how to pay."
)
STRIPE_UNAVAILABLE = ProblemType(
    503, "stripe_unavailable", "Stripe is unavailable. Nothing was charged.", "Send the same request again to continue."
)
SUBSCRIPTION_BEING_CANCELED = ProblemType(
    409, "subscription_being_canceled", "The membership that ended is still being canceled.", "Try again in a moment."
)
TAX_NEEDS_PAGE = ProblemType(
    409,
    "tax_needs_page",
    "Tax is added on Stripe's page only.",
    "POST /api/checkout, or /api/create-checkout-session for a program.",
)
TOO_MANY_DECIMALS = ProblemType(
    422, "too_many_decimals", "A price has more decimals than its currency.", "Send at most the currency's decimals."
)
UNDERPAID = ProblemType(
    409,
    "underpaid",
    "Less than the price was received for this.",
    "Pay the rest (POST /api/enrollments/{id}/pay-remaining, with the purchase's id of GET /api/purchases), "
    "or ask an admin to accept what was paid.",
)
UNKNOWN_COURSE = ProblemType(404, "unknown_course", "There is no such course on sale.", "GET /api/catalog lists them.")
UNKNOWN_ENROLLMENT = ProblemType(
    404, "unknown_enrollment", "Enrollment not found.", "GET /api/purchases lists the purchases with their enrollments."
)
UNKNOWN_ERASURE = ProblemType(
    404,
    "unknown_erasure",
    "The erasure of this student was not requested.",
    "Request it: POST /api/admin/students/{id}/erasure.",
)
UNKNOWN_FUNDING_SOURCE = ProblemType(
    422,
    "unknown_funding_source",
    "Unknown funding source.",
    "GET /api/admin/sponsors lists those that an admin has set up.",
)
UNKNOWN_INSTALLMENT = ProblemType(
    404, "unknown_installment", "Installment not found.", "GET /api/enrollments/{id}/payment lists the installments."
)
UNKNOWN_ITEM = ProblemType(
    404,
    "unknown_item",
    "There is no such item.",
    "GET /api/catalog lists what is on sale; for admins, GET /api/admin/items lists all.",
)
UNKNOWN_LINK = ProblemType(404, "unknown_link", "There is no such link.", "Open the link in the latest mail again.")
UNKNOWN_MEMBERSHIP = ProblemType(
    404, "unknown_membership", "There is no such membership.", "GET /api/catalog lists those on sale."
)
UNKNOWN_PAYMENT = ProblemType(
    404, "unknown_payment", "Payment not found.", "GET /api/payments/history/customer lists yours."
)
UNKNOWN_PRODUCT = ProblemType(
    404, "unknown_product", "Product not found.", "GET /api/catalog lists the products on sale."
)
UNKNOWN_PROGRAM = ProblemType(404, "unknown_program", "There is no such program.", "GET /api/programs lists them.")
UNKNOWN_PROMOTION = ProblemType(
    404,
    "unknown_promotion",
    "There is no such promotion code.",
    "Check its spelling, or buy without it; for admins, GET /api/admin/promotions lists them.",
)
UNKNOWN_PURCHASE = ProblemType(404, "unknown_purchase", "There is no such purchase.", "GET /api/purchases lists them.")
UNKNOWN_RECEIPT = ProblemType(
    404,
    "unknown_receipt",
    "Receipt not found.",
    "GET /api/receipts lists yours. A payment has a receipt once it has succeeded.",
)
UNKNOWN_SPONSOR = ProblemType(
    404, "unknown_sponsor", "There is no such sponsor.", "GET /api/admin/sponsors lists them."
)
UNKNOWN_STUDENT = ProblemType(
    404, "unknown_student", "There is no such student.", "POST /api/admin/students/search finds students."
)
UNKNOWN_TRACK = ProblemType(404, "unknown_track", "There is no such track on sale.", "GET /api/catalog lists what is.")
USE_MEMBERSHIPS = ProblemType(409, "use_memberships", "A membership is a subscription.", "POST /api/memberships.")
NO_PLAN = ProblemType(422, "no_plan", "Only programs are paid in four monthly installments.", "Choose `full`.")
UNKNOWN_SESSION = ProblemType(404, "unknown_session", "There is no such checkout session.", "Check the id.")
