"""Test cards, bank accounts and wallets, and how each behaves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from stripe_sandbox.errors import StripeError


class Behavior(StrEnum):
    SUCCEEDS = "succeeds"
    DECLINES = "declines"
    NEEDS_ACTION = "needs_action"
    """Requires 3-D Secure; off session, it can only be charged if it was set up for off-session use."""
    SETTLES_LATER = "settles_later"


class RefundBehavior(StrEnum):
    SUCCEEDS = "succeeds"
    PENDS = "pends"
    """Pending until the operator completes it."""


@dataclass(frozen=True)
class Instrument:
    """A card, bank account or wallet. `code`, `decline_code` and `message` describe its decline."""

    method: str
    behavior: Behavior = Behavior.SUCCEEDS
    code: str = "card_declined"
    decline_code: str | None = None
    message: str = "Your card was declined."
    settles_successfully: bool = True
    always_authenticates: bool = False
    """Requires 3-D Secure for every charge, even if set up for off-session use."""
    refund: RefundBehavior = RefundBehavior.SUCCEEDS
    brand: str = "visa"
    last4: str = "4242"
    verified: bool = True
    """False for a bank account that must be verified by micro-deposits first."""
    wallet: str | None = None
    """apple_pay or google_pay, for a card that was presented by it."""


def _declining(decline_code: str, message: str, code: str = "card_declined") -> Instrument:
    return Instrument("card", Behavior.DECLINES, code=code, decline_code=decline_code, message=message)


_CARDS: dict[str, Instrument] = {
    "4242424242424242": Instrument("card"),
    "4000000000000002": _declining("generic_decline", "Your card was declined."),
    "4000000000009995": _declining("insufficient_funds", "Your card has insufficient funds."),
    "4000000000009987": _declining("lost_card", "Your card was declined."),
    "4000000000000069": _declining("expired_card", "Your card has expired.", code="expired_card"),
    "4000000000000127": _declining("incorrect_cvc", "Your card's security code is incorrect.", code="incorrect_cvc"),
    "4000000000000119": _declining(
        "processing_error",
        "An error occurred while processing your card. Try again in a little bit.",
        "processing_error",
    ),
    "4000000000000341": _declining("generic_decline", "Your card was declined."),
    "4000002500003155": Instrument("card", Behavior.NEEDS_ACTION),
    "4000002760003184": Instrument("card", Behavior.NEEDS_ACTION, always_authenticates=True),
    "4000000000007726": Instrument("card", refund=RefundBehavior.PENDS),
}
_BRANDS = {"4": "visa", "5": "mastercard", "2": "mastercard", "3": "amex", "6": "discover"}

TEST_PAYMENT_METHODS: dict[str, str] = {
    "pm_card_visa": "4242424242424242",
    "pm_card_mastercard": "5555555555554444",
    "pm_card_chargeDeclined": "4000000000000002",
    "pm_card_visa_chargeDeclined": "4000000000000002",
    "pm_card_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_chargeDeclinedExpiredCard": "4000000000000069",
    "pm_card_chargeCustomerFail": "4000000000000341",
    "pm_card_authenticationRequired": "4000002760003184",
    "pm_card_authenticationRequiredOnSetup": "4000002500003155",
    "pm_card_threeDSecure2Required": "4000002760003184",
    "pm_card_pendingRefund": "4000000000007726",
}
"""Stripe's test payment method ids -> card number"""

TEST_BANK_ACCOUNTS: dict[str, str | None] = {
    "pm_usBankAccount": None,
    "pm_usBankAccount_success": None,
    "pm_usBankAccount_insufficientFunds": "insufficient_funds",
    "pm_usBankAccount_accountClosed": "account_closed",
    "pm_usBankAccount_noAccount": "no_account",
    "pm_usBankAccount_debitNotAuthorized": "debit_not_authorized",
}
"""Stripe's test payment method ids -> the code with which their debits fail"""
_BANK_FAILURES = {
    "insufficient_funds": "The customer's account has insufficient funds to cover this payment.",
    "account_closed": "The customer's bank account has been closed.",
    "no_account": "The customer's bank account could not be located.",
    "debit_not_authorized": "The customer has notified their bank that this payment was unauthorized.",
}

_AFFIRM_APPROVED, _AFFIRM_DECLINED = "5555555555", "5555555556"


def card(number: str) -> Instrument:
    """The card with this number; spaces are ignored. Raises a 402 card_error for an invalid number."""
    digits = number.replace(" ", "").replace("-", "")
    if not (digits.isascii() and digits.isdigit() and 13 <= len(digits) <= 19 and _luhn(digits)):
        raise StripeError("Your card number is incorrect.", status=402, type="card_error", code="incorrect_number")
    found = _CARDS.get(digits, Instrument("card"))
    return _with_number(found, digits)


def bank_account(failure: str | None = None, *, verified: bool = True) -> Instrument:
    """A US bank account: its debits are pending, then succeed, or fail with `failure` (a code)."""
    return Instrument(
        "us_bank_account",
        Behavior.SETTLES_LATER,
        code=failure or "insufficient_funds",
        message=_BANK_FAILURES[failure or "insufficient_funds"],
        settles_successfully=failure is None,
        verified=verified,
        refund=RefundBehavior.PENDS,
        last4="6789",
    )


def affirm(phone: str) -> Instrument:
    """Affirm by phone number: 555-555-5555 is approved, 555-555-5556 declined. Raises for any other."""
    digits = "".join(c for c in phone if c.isdigit())[-10:]
    if digits not in (_AFFIRM_APPROVED, _AFFIRM_DECLINED):
        raise StripeError("Use 555-555-5555 (approved) or 555-555-5556 (declined).", param="phone")
    return wallet("affirm", authorized=digits == _AFFIRM_APPROVED)


def wallet(method: str, *, authorized: bool) -> Instrument:
    """A wallet or buy-now-pay-later method that the customer authorizes or declines on its own page."""
    if authorized:
        return Instrument(method)
    return Instrument(
        method,
        Behavior.DECLINES,
        code="payment_intent_payment_attempt_failed",
        message="The customer declined the payment on the payment method's page, or it was not approved.",
    )


def _with_number(instrument: Instrument, digits: str) -> Instrument:
    return Instrument(**{**instrument.__dict__, "brand": _BRANDS.get(digits[0], "visa"), "last4": digits[-4:]})


def _luhn(digits: str) -> bool:
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if position % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
