"""Payment intents and their charges.

Success is recorded and emitted in two steps, because Stripe emits the events of the paid invoice in between; see
`settlement`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import stripe

from stripe_sandbox.clock import DAY
from stripe_sandbox.errors import StripeError
from stripe_sandbox.flows import balance_transactions, mandates
from stripe_sandbox.flows.payment_methods import charge_details
from stripe_sandbox.ids import new_id, random_text
from stripe_sandbox.instruments import Instrument
from stripe_sandbox.shapes import build, part
from stripe_sandbox.state import Sandbox, copy_of
from stripe_sandbox.store import Obj


@dataclass(frozen=True)
class Decline:
    """The reason for a failed attempt."""

    code: str
    message: str
    decline_code: str | None = None
    type: str = "card_error"

    @classmethod
    def of(cls, instrument: Instrument) -> Decline:
        return cls(instrument.code, instrument.message, instrument.decline_code)


AUTHENTICATION_FAILED = Decline(
    "payment_intent_authentication_failure",
    "We are unable to authenticate your payment method. Please choose a different payment method and try again.",
    type="invalid_request_error",
)

MANDATE_INVALID = Decline(
    "payment_intent_mandate_invalid",
    "The provided mandate is invalid and can not be used for the payment intent.",
    type="invalid_request_error",
)

VERIFICATION_FAILED = Decline(
    "payment_method_microdeposit_failed",
    "Microdeposit transfers failed. Please check the account, institution and transit numbers provided.",
    type="invalid_request_error",
)

AUTHENTICATION_REQUIRED = Decline(
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
    "authentication_required",
)


ADVICE = {
    "do_not_honor": "try_again_later",
    "expired_card": "confirm_card_data",
    "generic_decline": "try_again_later",
    "incorrect_cvc": "confirm_card_data",
    "insufficient_funds": "try_again_later",
    "lost_card": "do_not_try_again",
    "pickup_card": "do_not_try_again",
    "processing_error": "try_again_later",
    "stolen_card": "do_not_try_again",
}
"""`advice_code` of declines, as in docs.stripe.com/declines/codes (which declines have which: believed)."""


def create_intent(sandbox: Sandbox, *, amount: int, currency: str, customer: str | None, **values: Any) -> Obj:
    """Creates a payment intent without a payment method. Emits payment_intent.created."""
    id = new_id("pi")
    values = {
        "automatic_payment_methods": {"allow_redirects": "always", "enabled": True},
        "capture_method": "automatic",
        "confirmation_method": "automatic",
        "metadata": {},
        "payment_method_options": {},
        "payment_method_types": ["card"],
        **values,
    }
    intent = build(
        stripe.PaymentIntent,
        id=id,
        amount=amount,
        amount_capturable=0,
        amount_details={"tip": {}},
        amount_received=0,
        client_secret=f"{id}_secret_{random_text(25)}",
        created=sandbox.clock.now_for(customer),
        currency=currency,
        customer=customer,
        status="requires_payment_method",
        **values,
    )
    sandbox.store.add(intent)
    sandbox.emit("payment_intent.created", intent)
    return intent


def instrument_of(sandbox: Sandbox, intent: Obj) -> Instrument:
    return sandbox.internal.instruments[intent["payment_method"]]


def record_success(sandbox: Sandbox, intent: Obj) -> Obj:
    """Marks the intent and its charge (pending or new) succeeded."""
    instrument = instrument_of(sandbox, intent)
    charge = _pending_charge(sandbox, intent) or _charge(sandbox, intent, instrument, "pending")
    fee = balance_transactions.processing_fee(instrument.method, charge["amount"])
    kind = "charge" if instrument.method == "card" else "payment"
    movement = balance_transactions.post(
        sandbox, kind, charge["amount"], charge["currency"], charge["id"], fee=fee, category="charge"
    )
    charge.update(
        status="succeeded",
        paid=True,
        amount_captured=charge["amount"],
        balance_transaction=movement["id"],
        receipt_url=sandbox.url(f"/receipts/{charge['id']}"),
    )
    intent.update(
        status="succeeded",
        amount_received=intent["amount"],
        last_payment_error=None,
        next_action=None,
        processing=None,
    )
    sandbox.internal.settles_at.pop(intent["id"], None)
    return charge


def emit_success(sandbox: Sandbox, intent: Obj, charge: Obj) -> None:
    sandbox.emit("payment_intent.succeeded", intent)
    sandbox.emit("charge.succeeded", charge)


def fail(sandbox: Sandbox, intent: Obj, decline: Decline, *, charged: bool = True) -> None:
    """Records a failed attempt. `charged`: it created a charge, unlike a failed authentication."""
    charge: Obj | None = None
    if charged:
        instrument = instrument_of(sandbox, intent)
        charge = _pending_charge(sandbox, intent) or _charge(sandbox, intent, instrument, "failed")
        outcome = {"network_status": "declined_by_network", "reason": decline.decline_code, "type": "issuer_declined"}
        advice = ADVICE.get(decline.decline_code or decline.code)
        charge["outcome"].update(outcome, seller_message=decline.message, advice_code=advice)
        charge.update(status="failed", paid=False, failure_code=decline.code, failure_message=decline.message)
    sandbox.internal.settles_at.pop(intent["id"], None)
    intent.update(
        status="requires_payment_method",
        last_payment_error=_error(sandbox, intent, decline, charge),
        payment_method=None,
        next_action=None,
        processing=None,
    )
    sandbox.emit("payment_intent.payment_failed", intent)
    if charge is not None:
        sandbox.emit("charge.failed", charge)


def process(sandbox: Sandbox, intent: Obj) -> None:
    """Starts a bank debit: intent processing, charge pending, until it settles or fails."""
    charge = _charge(sandbox, intent, instrument_of(sandbox, intent), "pending")
    intent.update(status="processing", next_action=None, last_payment_error=None)
    if (wait := sandbox.settings.ach_settle_seconds) is not None:
        now = sandbox.clock.now_for(intent["customer"])
        sandbox.internal.settles_at[intent["id"]] = now + round(wait / sandbox.settings.time_factor)
    sandbox.emit("payment_intent.processing", intent)
    sandbox.emit("charge.pending", charge)


def require_action(sandbox: Sandbox, intent: Obj, return_url: str | None) -> None:
    """Requires 3-D Secure on the authentication page."""
    page = sandbox.url(f"/authenticate/{intent['id']}")
    redirect = {"return_url": return_url, "url": page}
    intent.update(status="requires_action", next_action={"redirect_to_url": redirect, "type": "redirect_to_url"})
    sandbox.emit("payment_intent.requires_action", intent)


def require_verification(sandbox: Sandbox, intent: Obj) -> None:
    """Requires the customer to verify the bank account by micro-deposits, which takes days."""
    action = {
        "arrival_date": sandbox.clock.now_for(intent["customer"]) + 2 * DAY,
        "hosted_verification_url": sandbox.url(f"/authenticate/{intent['id']}"),
        "microdeposit_type": "amounts",
    }
    next_action = {"type": "verify_with_microdeposits", "verify_with_microdeposits": action}
    intent.update(status="requires_action", next_action=next_action)
    sandbox.emit("payment_intent.requires_action", intent)


def action_url(intent: Obj) -> str | None:
    """The page on which the customer completes the required action, if any."""
    action = intent["next_action"]
    if action is None:
        return None
    if action["type"] == "redirect_to_url":
        return str(action["redirect_to_url"]["url"])
    return str(action["verify_with_microdeposits"]["hosted_verification_url"])


def attempt_error(error: Obj, **extra: Any) -> StripeError:
    """The response to a call whose payment attempt ended with this `last_payment_error`."""
    extra.update({name: error[name] for name in ("charge", "decline_code", "advice_code") if name in error})
    status = 402 if error["type"] == "card_error" else 400
    return StripeError(error["message"], status=status, type=error["type"], code=error["code"], **extra)


def cancel(sandbox: Sandbox, intent: Obj, reason: str | None) -> None:
    intent.update(
        status="canceled",
        canceled_at=sandbox.clock.now_for(intent["customer"]),
        cancellation_reason=reason,
        next_action=None,
    )
    sandbox.emit("payment_intent.canceled", intent)


def _pending_charge(sandbox: Sandbox, intent: Obj) -> Obj | None:
    charge = sandbox.store.find(intent["latest_charge"]) if intent["latest_charge"] else None
    return charge if charge is not None and charge["status"] == "pending" else None


def _charge(sandbox: Sandbox, intent: Obj, instrument: Instrument, status: str) -> Obj:
    method = sandbox.store.get("payment_method", intent["payment_method"])
    charge = build(
        stripe.Charge,
        id=new_id("ch" if instrument.method == "card" else "py"),
        amount=intent["amount"],
        amount_captured=0,
        amount_refunded=0,
        billing_details=copy_of(method["billing_details"]),
        calculated_statement_descriptor="BURSAR SANDBOX",
        captured=True,
        created=sandbox.clock.now_for(intent["customer"]),
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        disputed=False,
        fraud_details={},
        metadata=dict(intent["metadata"]),
        outcome=part(
            stripe.Charge.Outcome,
            network_status="approved_by_network",
            risk_level="normal",
            risk_score=20,
            seller_message="Payment complete.",
            type="authorized",
        ),
        paid=False,
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details=charge_details(instrument, mandates.of_method(sandbox, method["id"])),
        receipt_email=intent["receipt_email"],
        refunded=False,
        status=status,
    )
    intent["latest_charge"] = charge["id"]
    return sandbox.store.add(charge)


def _error(sandbox: Sandbox, intent: Obj, decline: Decline, charge: Obj | None) -> Obj:
    error: Obj = {
        "code": decline.code,
        "doc_url": f"https://docs.stripe.com/error-codes/{decline.code.replace('_', '-')}",
        "message": decline.message,
        "type": decline.type,
    }
    if decline.decline_code:
        error["decline_code"] = decline.decline_code
    if advice := ADVICE.get(decline.decline_code or decline.code):
        error["advice_code"] = advice
    if charge is not None:
        error["charge"] = charge["id"]
    if intent["payment_method"]:
        error["payment_method"] = copy_of(sandbox.store.get("payment_method", intent["payment_method"]))
    return error
