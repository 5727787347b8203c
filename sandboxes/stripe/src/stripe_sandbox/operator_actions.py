"""Operator actions: what customers and banks would do, and the passage of time.

The operator page submits the same requests as forms. Refunds, disputes and mandates are in `operator_banks`.
"""

from __future__ import annotations

from pydantic import Field

from stripe_sandbox import operator_banks
from stripe_sandbox.errors import StripeError
from stripe_sandbox.flows import (
    checkout,
    checkout_completion,
    collection,
    customers,
    invoices,
    payment_methods,
    payments,
    settlement,
    timeline,
)
from stripe_sandbox.flows.checkout import PaymentForm
from stripe_sandbox.flows.payments import Decline
from stripe_sandbox.ids import new_id
from stripe_sandbox.operator_action import Action, EmptyBody
from stripe_sandbox.state import ForcedFailures, Sandbox
from stripe_sandbox.store import Obj


class Seconds(EmptyBody):
    seconds: int = Field(ge=1)


class Failure(EmptyBody):
    code: str = "insufficient_funds"
    message: str = "The customer's account has insufficient funds to cover this payment."


class Authentication(EmptyBody):
    passed: bool


class Failures(EmptyBody):
    times: int = Field(default=1, ge=0)
    decline_code: str = "generic_decline"
    """`authentication_required` declines like a card that requires 3-D Secure."""


class FinalizationFailure(EmptyBody):
    code: str = "customer_tax_location_invalid"
    message: str = (
        "The customer's location isn't recognized. Set a valid customer address in order to automatically calculate "
        "tax."
    )


class NewSecret(EmptyBody):
    secret: str | None = None
    old_expires_in: float = 0.0
    """Real seconds during which the old secret also signs."""


def pay_session(sandbox: Sandbox, id: str, form: PaymentForm) -> Obj:
    session = sandbox.store.get("checkout.session", id)
    checkout.pay(sandbox, session, form)
    return session_result(sandbox, session)


def session_result(sandbox: Sandbox, session: Obj) -> Obj:
    """The result of a payment attempt: complete, requires_action, or declined with the error message."""
    plan = sandbox.internal.checkouts[session["id"]]
    intent = sandbox.store.find(plan.intent) if plan.intent else None
    status = session["status"]
    if status == "open" and intent is not None:
        status = "requires_action" if intent["status"] == "requires_action" else "declined"
    redirect = checkout.success_url(session) if status == "complete" else None
    if status == "requires_action" and intent is not None:
        redirect = payments.action_url(intent)
    return {
        "status": status,
        "error": plan.error,
        "redirect_url": redirect,
        "payment_intent": session["payment_intent"] or plan.intent,
        "session": session,
    }


def expire_session(sandbox: Sandbox, id: str, _: EmptyBody) -> Obj:
    session = sandbox.store.get("checkout.session", id)
    checkout.require_open(session)
    checkout_completion.expire(sandbox, session)
    return session


def pay_intent(sandbox: Sandbox, id: str, form: PaymentForm) -> Obj:
    """Confirms an intent with the customer's input, as Stripe.js does in a browser."""
    intent = sandbox.store.get("payment_intent", id)
    if intent["status"] not in ("requires_payment_method", "requires_confirmation", "requires_action"):
        raise StripeError(f"The intent is {intent['status']}.", code="payment_intent_unexpected_state")
    if form.method not in intent["payment_method_types"]:
        raise StripeError(f"The payment method {form.method} is not available for this payment.", param="method")
    billing = payment_methods.billing_details(form.email, form.name)
    method = payment_methods.create(sandbox, form.instrument(), billing)
    settlement.attempt(sandbox, intent, method)
    return intent


def settle_intent(sandbox: Sandbox, id: str, _: EmptyBody) -> Obj:
    intent = _processing(sandbox, id)
    settlement.succeed(sandbox, intent)
    return intent


def fail_intent(sandbox: Sandbox, id: str, failure: Failure) -> Obj:
    intent = _processing(sandbox, id)
    settlement.fail(sandbox, intent, Decline(failure.code, failure.message))
    return intent


def authenticate(sandbox: Sandbox, id: str, body: Authentication) -> Obj:
    intent = sandbox.store.get("payment_intent", id)
    if intent["status"] != "requires_action":
        raise StripeError(f"The intent is {intent['status']}; it does not require authentication.")
    settlement.authenticated(sandbox, intent, passed=body.passed)
    return intent


def pay_invoice(sandbox: Sandbox, id: str, form: PaymentForm) -> Obj:
    """Pays an invoice as on its hosted page. Raises a 402 for a decline."""
    invoice = sandbox.store.get("invoice", id)
    if invoice["status"] not in ("open", "uncollectible"):
        raise StripeError(f"The invoice is {invoice['status']}, so it cannot be paid.")
    intent = invoices.intent_of(sandbox, invoice)
    if intent is None or intent["status"] == "processing":
        raise StripeError("A payment for this invoice is already processing.")
    if form.method not in intent["payment_method_types"]:
        raise StripeError(f"The payment method {form.method} is not available for this payment.", param="method")
    billing = payment_methods.billing_details(form.email or invoice["customer_email"], form.name)
    method = payment_methods.create(sandbox, form.instrument(), billing)
    collection.collect(sandbox, invoice, method=method, on_session=True)
    if error := intent["last_payment_error"]:
        raise StripeError(error["message"], status=402, type="card_error", code=error["code"])
    return invoice


def delete_customer(sandbox: Sandbox, id: str, _: EmptyBody) -> Obj:
    """Deletes a customer as in the Dashboard."""
    customers.delete(sandbox, sandbox.store.get("customer", id))
    return {"id": id, "deleted": True}


def fail_next_finalization(sandbox: Sandbox, id: str, body: FinalizationFailure) -> Obj:
    """Fails the next finalization of an invoice of this customer."""
    sandbox.store.get("customer", id)
    sandbox.internal.failing_finalizations[id] = (body.code, body.message)
    return {"customer": id, **body.model_dump()}


def advance_clock(sandbox: Sandbox, _: str, body: Seconds) -> Obj:
    """Advances the sandbox clock. Customers with a test clock are not affected."""
    timeline.run_until(sandbox, None, sandbox.clock.now() + body.seconds)
    return {"now": sandbox.clock.now(), "offset": round(sandbox.clock.offset)}


def fail_next_charges(sandbox: Sandbox, id: str, body: Failures) -> Obj:
    """Declines the next off-session charges of a customer: renewals, their retries, and intents."""
    sandbox.store.get("customer", id)
    sandbox.internal.failing_charges[id] = ForcedFailures(body.times, body.decline_code)
    return {"customer": id, "failing": body.times}


def resend_event(sandbox: Sandbox, id: str, _: EmptyBody) -> Obj:
    return {"event": id, "endpoints": sandbox.deliveries.resend(sandbox.store.get("event", id))}


def release_held(sandbox: Sandbox, _: str, __: EmptyBody) -> Obj:
    sandbox.deliveries.release()
    return dict(sandbox.deliveries.pending())


def roll_secret(sandbox: Sandbox, id: str, body: NewSecret) -> Obj:
    sandbox.store.get("webhook_endpoint", id)
    secret = body.secret or new_id("whsec", 32)
    sandbox.endpoints.set_secret(id, secret, old_expires_in=body.old_expires_in)
    return {"id": id, "secret": secret}


def _processing(sandbox: Sandbox, id: str) -> Obj:
    intent = sandbox.store.get("payment_intent", id)
    if intent["status"] != "processing":
        raise StripeError(f"The intent is {intent['status']}, not processing.", code="payment_intent_unexpected_state")
    return intent


ACTIONS = [
    *operator_banks.ACTIONS,
    Action("/sessions/{id}/pay", PaymentForm, pay_session),
    Action("/sessions/{id}/expire", EmptyBody, expire_session),
    Action("/payment_intents/{id}/pay", PaymentForm, pay_intent),
    Action("/payment_intents/{id}/settle", EmptyBody, settle_intent),
    Action("/payment_intents/{id}/fail", Failure, fail_intent),
    Action("/payment_intents/{id}/authenticate", Authentication, authenticate),
    Action("/invoices/{id}/pay", PaymentForm, pay_invoice),
    Action("/clock/advance", Seconds, advance_clock),
    Action("/customers/{id}/fail_next_charges", Failures, fail_next_charges),
    Action("/customers/{id}/fail_next_renewal", Failures, fail_next_charges),
    Action("/customers/{id}/fail_next_finalization", FinalizationFailure, fail_next_finalization),
    Action("/customers/{id}/delete", EmptyBody, delete_customer),
    Action("/events/{id}/resend", EmptyBody, resend_event),
    Action("/held/release", EmptyBody, release_held),
    Action("/webhook_endpoints/{id}/roll_secret", NewSecret, roll_secret),
]
