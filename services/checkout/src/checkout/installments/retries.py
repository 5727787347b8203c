"""What follows a failed attempt to collect an installment, by what the bank said. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

RETRIES = (timedelta(days=1), timedelta(days=2), timedelta(days=4))
"""From one attempt to the next: 1, 3 and 7 days after the first."""
CHARGES_APART = timedelta(hours=24)
"""The least time between two automatic charges of one purchase."""
DEBITS = 3
"""How often a bank debit is presented: Nacha's operating rules permit two re-presentments of an entry that was returned
for insufficient or uncollected funds (R01, R09)."""

NOT_PAID = "not_paid"
"""The failure code if nothing was charged: the payer did not pay the invoice."""
NO_METHOD = "no_payment_method"
"""The failure code if nothing was charged: the payer has saved no payment method."""
AUTHENTICATION_REQUIRED = "authentication_required"

NEEDS_PAYER = frozenset(
    {
        AUTHENTICATION_REQUIRED,
        "invoice_payment_intent_requires_action",
        "requires_action",
        "requires_confirmation",
        "payment_intent_authentication_failure",
        "payment_intent_action_required",
    }
)
"""The payer has to act: docs.stripe.com/error-codes, and statuses of an intent (SDK 16.1, PaymentIntent.status)."""

HARD_DECLINES = frozenset(
    {
        # docs.stripe.com/declines/codes: the issuer accepts this card no more, or not for this
        "card_not_supported",
        "currency_not_supported",
        "do_not_try_again",
        "expired_card",
        "fraudulent",
        "highest_risk_level",
        "incorrect_number",
        "invalid_account",
        "invalid_number",
        "lost_card",
        "merchant_blacklist",
        "new_account_information_available",
        "not_permitted",
        "pickup_card",
        "restricted_card",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "security_violation",
        "service_not_allowed",
        "stolen_card",
        "stop_payment_order",
        "transaction_not_allowed",
        # docs.stripe.com/declines/network-codes, ACH direct debit: R02, R03 and R04, R05 to R11, R16, R20
        "account_closed",
        "bank_account_closed",
        "bank_account_invalid_details",
        "bank_account_restricted",
        "bank_ownership_changed",
        "debit_not_authorized",
        "no_account",
        # SDK 16.1, PaymentIntent.last_payment_error.code: the bank account or its mandate cannot be used
        "account_number_invalid",
        "bank_account_declined",
        "bank_account_unusable",
        "billing_invalid_mandate",
        "expired_payment_method",
        "payment_intent_mandate_invalid",
        "payment_method_bank_account_blocked",
        "payment_method_restricted",
        "routing_number_invalid",
    }
)
"""Another attempt with the same payment method cannot succeed, and may cost a penalty of the card network."""

_NEVER_AGAIN = "do_not_try_again"
"""`advice_code` of an issuer: docs.stripe.com/declines/card#retrying-issuer-declines."""
_DEBITED = frozenset({"us_bank_account", "acss_debit", "sepa_debit", "bacs_debit", "au_becs_debit", "nz_bank_account"})


@dataclass(frozen=True)
class Retry:
    """The timer tries again at this time."""

    at: datetime


@dataclass(frozen=True)
class GiveUp:
    """That was the last attempt: the installment is overdue until the payer acts."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why an attempt failed. `advice` is the issuer's; `method` the type of the payment method, if one was charged."""

    code: str
    advice: str | None = None
    method: str | None = None

    @property
    def is_final(self) -> bool:
        """The payment method cannot be charged any more."""
        return self.code in HARD_DECLINES or self.advice == _NEVER_AGAIN


def after_failure(failure: Failure, *, attempts: int, now: datetime) -> Retry | GiveUp:
    """What follows the `attempts`-th attempt (counted from 1), which failed.

    If the payer has to act, the next attempts are reminders only: see `charges_again`.
    """
    if failure.is_final or attempts > len(RETRIES):
        return GiveUp()
    if failure.method in _DEBITED and attempts >= DEBITS:
        return GiveUp()
    return Retry(now + RETRIES[max(attempts, 1) - 1])


def charges_again(*, failure_code: str | None, charged_method: str | None, method: str) -> bool:
    """Whether the timer may charge this method: not the one for which the payer had to act."""
    return failure_code not in NEEDS_PAYER or method != charged_method


def next_charge_at(charged_at: datetime | None) -> datetime | None:
    """Not sooner than this may the same purchase be charged again. None: at once."""
    return None if charged_at is None else charged_at + CHARGES_APART
