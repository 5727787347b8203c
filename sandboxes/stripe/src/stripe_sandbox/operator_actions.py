"""What an operator can order, on the page and as JSON: the customer's part, the bank's part, and time.

Each action has a path under /sandbox/api, a model of what it takes, and a function that does it and answers with JSON.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from stripe_sandbox.errors import StripeError
from stripe_sandbox.flows import (
    checkout,
    checkout_completion,
    collecting,
    disputing,
    invoicing,
    payment_methods,
    refunding,
    settlement,
    timeline,
)
from stripe_sandbox.flows.checkout import Choice
from stripe_sandbox.flows.payments import Decline
from stripe_sandbox.ids import new_id
from stripe_sandbox.state import OrderedFailures, Sandbox
from stripe_sandbox.store import Obj


class Nothing(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Seconds(Nothing):
    seconds: int = Field(ge=1)


class Failure(Nothing):
    code: str = "insufficient_funds"
    message: str = "The customer's account has insufficient funds to cover this payment."


class Authentication(Nothing):
    passed: bool


class Refund(Nothing):
    amount: int | None = None
    status: Literal["succeeded", "pending"] = "succeeded"
    reason: Literal["duplicate", "fraudulent", "requested_by_customer"] | None = None


class RefundFailure(Nothing):
    reason: str = "expired_or_canceled_card"


class Dispute(Nothing):
    amount: int | None = None
    reason: str = "fraudulent"
    kind: Literal["chargeback", "inquiry"] = "chargeback"


class Verdict(Nothing):
    status: Literal["won", "lost", "warning_closed"]


class Failures(Nothing):
    times: int = Field(default=1, ge=0)
    decline_code: str = "generic_decline"
    """`authentication_required` fails as a card does that wants 3-D Secure."""


class NewSecret(Nothing):
    secret: str | None = None
    old_expires_in: float = 0.0
    """Real seconds in which the old secret is signed with as well."""


@dataclass(frozen=True)
class Action:
    """`do` gets the sandbox, the id in the path, and what was sent."""

    path: str
    takes: type[BaseModel]
    do: Callable[[Sandbox, str, Any], Obj]


def pay_session(sandbox: Sandbox, id: str, choice: Choice) -> Obj:
    session = sandbox.store.get("checkout.session", id)
    checkout.pay(sandbox, session, choice)
    return outcome(sandbox, session)


def outcome(sandbox: Sandbox, session: Obj) -> Obj:
    """Where a session stands after an attempt: complete, requires_action, or declined with what the customer reads."""
    plan = sandbox.hidden.checkouts[session["id"]]
    intent = sandbox.store.find(plan.intent) if plan.intent else None
    status = session["status"]
    if status == "open" and intent is not None:
        status = "requires_action" if intent["status"] == "requires_action" else "declined"
    redirect = checkout.success_url(session) if status == "complete" else None
    if status == "requires_action" and intent is not None:
        redirect = intent["next_action"]["redirect_to_url"]["url"]
    shown = session["payment_intent"] or plan.intent
    return {
        "status": status,
        "error": plan.error,
        "redirect_url": redirect,
        "payment_intent": shown,
        "session": session,
    }


def expire_session(sandbox: Sandbox, id: str, _: Nothing) -> Obj:
    session = sandbox.store.get("checkout.session", id)
    checkout.require_open(session)
    checkout_completion.expire(sandbox, session)
    return session


def pay_intent(sandbox: Sandbox, id: str, choice: Choice) -> Obj:
    """What Stripe.js does in a browser: confirm an intent with what the customer typed."""
    intent = sandbox.store.get("payment_intent", id)
    if intent["status"] not in ("requires_payment_method", "requires_confirmation", "requires_action"):
        raise StripeError(f"The intent is {intent['status']}.", code="payment_intent_unexpected_state")
    if choice.method not in intent["payment_method_types"]:
        raise StripeError(f"The payment method {choice.method} is not offered here.", param="method")
    billing = payment_methods.billing_details(choice.email, choice.name)
    method = payment_methods.create(sandbox, choice.instrument(), billing)
    settlement.attempt(sandbox, intent, method)
    return intent


def settle_intent(sandbox: Sandbox, id: str, _: Nothing) -> Obj:
    intent = _processing(sandbox, id)
    settlement.succeed(sandbox, intent)
    return intent


def fail_intent(sandbox: Sandbox, id: str, failure: Failure) -> Obj:
    intent = _processing(sandbox, id)
    settlement.fail(sandbox, intent, Decline(failure.code, failure.message))
    return intent


def authenticate(sandbox: Sandbox, id: str, given: Authentication) -> Obj:
    intent = sandbox.store.get("payment_intent", id)
    if intent["status"] != "requires_action":
        raise StripeError(f"The intent is {intent['status']}; nothing is to be authenticated.")
    settlement.authenticated(sandbox, intent, passed=given.passed)
    return intent


def pay_invoice(sandbox: Sandbox, id: str, choice: Choice) -> Obj:
    """The customer at the hosted invoice page. Raises a 402 for a decline."""
    invoice = sandbox.store.get("invoice", id)
    if invoice["status"] not in ("open", "uncollectible"):
        raise StripeError(f"The invoice is {invoice['status']}, so it cannot be paid.")
    intent = invoicing.intent_of(sandbox, invoice)
    if intent is None or intent["status"] == "processing":
        raise StripeError("A payment for this invoice is already under way.")
    if choice.method not in intent["payment_method_types"]:
        raise StripeError(f"The payment method {choice.method} is not offered here.", param="method")
    billing = payment_methods.billing_details(choice.email or invoice["customer_email"], choice.name)
    method = payment_methods.create(sandbox, choice.instrument(), billing)
    collecting.collect(sandbox, invoice, method=method, present=True)
    if error := intent["last_payment_error"]:
        raise StripeError(error["message"], status=402, type="card_error", code=error["code"])
    return invoice


def refund_charge(sandbox: Sandbox, id: str, given: Refund) -> Obj:
    charge = sandbox.store.get("charge", id)
    return refunding.create(sandbox, charge, amount=given.amount, reason=given.reason, status=given.status)


def succeed_refund(sandbox: Sandbox, id: str, _: Nothing) -> Obj:
    refund = sandbox.store.get("refund", id)
    refunding.succeed(sandbox, refund)
    return refund


def fail_refund(sandbox: Sandbox, id: str, given: RefundFailure) -> Obj:
    refund = sandbox.store.get("refund", id)
    refunding.fail(sandbox, refund, given.reason)
    return refund


def dispute_charge(sandbox: Sandbox, id: str, given: Dispute) -> Obj:
    charge = sandbox.store.get("charge", id)
    inquiry = given.kind == "inquiry"
    return disputing.open_dispute(sandbox, charge, amount=given.amount, reason=given.reason, inquiry=inquiry)


def escalate_dispute(sandbox: Sandbox, id: str, _: Nothing) -> Obj:
    dispute = sandbox.store.get("dispute", id)
    disputing.escalate(sandbox, dispute)
    return dispute


def review_dispute(sandbox: Sandbox, id: str, _: Nothing) -> Obj:
    """Evidence has been handed in: the bank is looking at it."""
    dispute = sandbox.store.get("dispute", id)
    disputing.submit(sandbox, dispute, {"uncategorized_text": "Evidence from the sandbox's operator."}, final=True)
    return dispute


def close_dispute(sandbox: Sandbox, id: str, verdict: Verdict) -> Obj:
    dispute = sandbox.store.get("dispute", id)
    disputing.close(sandbox, dispute, verdict.status)
    return dispute


def advance_clock(sandbox: Sandbox, _: str, given: Seconds) -> Obj:
    """Push the sandbox's own clock; customers on a test clock stay where they are."""
    timeline.run_until(sandbox, None, sandbox.clock.now() + given.seconds)
    return {"now": sandbox.clock.now(), "offset": round(sandbox.clock.offset)}


def fail_next_charges(sandbox: Sandbox, id: str, given: Failures) -> Obj:
    """Let the next charges without the customer fail, of renewals (which are tried again four times) and intents."""
    sandbox.store.get("customer", id)
    sandbox.hidden.failing_charges[id] = OrderedFailures(given.times, given.decline_code)
    return {"customer": id, "failing": given.times}


def resend_event(sandbox: Sandbox, id: str, _: Nothing) -> Obj:
    return {"event": id, "endpoints": sandbox.deliveries.resend(sandbox.store.get("event", id))}


def release_held(sandbox: Sandbox, _: str, __: Nothing) -> Obj:
    sandbox.deliveries.release()
    return dict(sandbox.deliveries.pending())


def roll_secret(sandbox: Sandbox, id: str, given: NewSecret) -> Obj:
    sandbox.store.get("webhook_endpoint", id)
    secret = given.secret or new_id("whsec", 32)
    sandbox.endpoints.set_secret(id, secret, old_expires_in=given.old_expires_in)
    return {"id": id, "secret": secret}


def _processing(sandbox: Sandbox, id: str) -> Obj:
    intent = sandbox.store.get("payment_intent", id)
    if intent["status"] != "processing":
        raise StripeError(f"The intent is {intent['status']}, not processing.", code="payment_intent_unexpected_state")
    return intent


ACTIONS = [
    Action("/sessions/{id}/pay", Choice, pay_session),
    Action("/sessions/{id}/expire", Nothing, expire_session),
    Action("/payment_intents/{id}/pay", Choice, pay_intent),
    Action("/payment_intents/{id}/settle", Nothing, settle_intent),
    Action("/payment_intents/{id}/fail", Failure, fail_intent),
    Action("/payment_intents/{id}/authenticate", Authentication, authenticate),
    Action("/invoices/{id}/pay", Choice, pay_invoice),
    Action("/charges/{id}/refund", Refund, refund_charge),
    Action("/charges/{id}/dispute", Dispute, dispute_charge),
    Action("/refunds/{id}/succeed", Nothing, succeed_refund),
    Action("/refunds/{id}/fail", RefundFailure, fail_refund),
    Action("/disputes/{id}/escalate", Nothing, escalate_dispute),
    Action("/disputes/{id}/review", Nothing, review_dispute),
    Action("/disputes/{id}/close", Verdict, close_dispute),
    Action("/clock/advance", Seconds, advance_clock),
    Action("/customers/{id}/fail_next_charges", Failures, fail_next_charges),
    Action("/customers/{id}/fail_next_renewal", Failures, fail_next_charges),
    Action("/events/{id}/resend", Nothing, resend_event),
    Action("/held/release", Nothing, release_held),
    Action("/webhook_endpoints/{id}/roll_secret", NewSecret, roll_secret),
]
