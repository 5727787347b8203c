"""Payment attempts and their effects on checkout sessions, invoices and subscriptions.

An intent can belong to a checkout session, an invoice, both or neither. Order of events as at Stripe: subscription,
invoice and invoice payment; payment intent and charge; checkout session.
"""

from __future__ import annotations

from dataclasses import replace

from stripe_sandbox.flows import (
    checkout_completion,
    dunning,
    invoices,
    mandates,
    payment_methods,
    payments,
    subscriptions,
)
from stripe_sandbox.flows.payments import (
    AUTHENTICATION_FAILED,
    AUTHENTICATION_REQUIRED,
    MANDATE_INVALID,
    VERIFICATION_FAILED,
    Decline,
)
from stripe_sandbox.instruments import Behavior
from stripe_sandbox.methods import reusable
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def attempt(
    sandbox: Sandbox, intent: Obj, method: Obj, *, on_session: bool = True, return_url: str | None = None
) -> None:
    """Attempts payment. `on_session`: the customer is present and can complete 3-D Secure.

    Never raises: the result is the intent's status and last_payment_error.
    """
    intent.update(payment_method=method["id"], last_payment_error=None)
    instrument = sandbox.internal.instruments[method["id"]]
    decline = expected_decline(sandbox, intent["customer"], method, on_session=on_session)
    invoice = invoices.invoice_of(sandbox, intent)
    if decline is AUTHENTICATION_REQUIRED and invoice is not None:
        payments.require_action(sandbox, intent, return_url)
        sandbox.internal.action_required.add(intent["id"])
        dunning.action_required(sandbox, invoice)
    elif decline is not None:
        fail(sandbox, intent, decline, charged=decline is not MANDATE_INVALID)
    elif not instrument.verified and on_session:
        verify(sandbox, intent)
    elif instrument.behavior is Behavior.SETTLES_LATER:
        process(sandbox, intent)
    elif instrument.behavior is Behavior.NEEDS_ACTION and on_session:
        payments.require_action(sandbox, intent, return_url)
    else:
        succeed(sandbox, intent)


def expected_decline(sandbox: Sandbox, customer: str | None, method: Obj, *, on_session: bool) -> Decline | None:
    """The decline of a charge now, if any. Consumes one forced failure."""
    instrument = sandbox.internal.instruments[method["id"]]
    if mandates.revoked(sandbox, method["id"]):
        return MANDATE_INVALID
    if not on_session and (forced := _forced_decline(sandbox, customer)) is not None:
        return forced
    if instrument.behavior is Behavior.DECLINES:
        return Decline.of(instrument)
    set_up = method["id"] in sandbox.internal.set_up and not instrument.always_authenticates
    if instrument.behavior is Behavior.NEEDS_ACTION and not on_session and not set_up:
        return AUTHENTICATION_REQUIRED
    return None


def authenticated(sandbox: Sandbox, intent: Obj, *, passed: bool) -> None:
    """Continues after 3-D Secure, or after the verification of a bank account."""
    instrument = payments.instrument_of(sandbox, intent)
    if not instrument.verified and passed:
        sandbox.internal.instruments[intent["payment_method"]] = replace(instrument, verified=True)
        process(sandbox, intent)
    elif not instrument.verified:
        fail(sandbox, intent, VERIFICATION_FAILED, charged=False)
    elif passed:
        if intent["setup_future_usage"] == "off_session":
            sandbox.internal.set_up.add(intent["payment_method"])
        succeed(sandbox, intent)
    else:
        fail(sandbox, intent, AUTHENTICATION_FAILED, charged=False)


def verify(sandbox: Sandbox, intent: Obj) -> None:
    """Requires micro-deposits. The session is completed as unpaid."""
    session = session_of(sandbox, intent)
    payments.require_verification(sandbox, intent)
    if session is not None and session["status"] == "open":
        checkout_completion.complete(sandbox, session, "unpaid")


def succeed(sandbox: Sandbox, intent: Obj) -> None:
    session = session_of(sandbox, intent)
    counted = _take_counted(sandbox, intent)
    charge = payments.record_success(sandbox, intent)
    method = sandbox.store.get("payment_method", intent["payment_method"])
    if intent["setup_future_usage"] and intent["customer"] and reusable(method["type"]):
        payment_methods.attach(sandbox, method, intent["customer"])
    if session is not None and session["mode"] == "subscription" and session["subscription"] is None:
        checkout_completion.start_subscription(sandbox, session, intent)
    invoice = invoices.invoice_of(sandbox, intent)
    if invoice is not None and invoice["status"] in ("open", "uncollectible"):
        invoices.pay(sandbox, invoice, attempted=not counted)
    elif invoice is not None and invoice["status"] == "paid":
        invoices.overpay(sandbox, invoice, intent["amount"])
    payments.emit_success(sandbox, intent, charge)
    if session is not None:
        checkout_completion.invoice_payment(sandbox, session, intent)
        if session["status"] == "open":
            checkout_completion.complete(sandbox, session, "paid")
        else:
            checkout_completion.finish_async_payment(sandbox, session, paid=True)
    if invoice is not None and (subscription := subscriptions.subscription_of(sandbox, invoice)) is not None:
        subscriptions.activate_if_paid_up(sandbox, subscription, method)


def process(sandbox: Sandbox, intent: Obj) -> None:
    """Starts a bank debit. The session is completed as unpaid."""
    session = session_of(sandbox, intent)
    method = sandbox.store.get("payment_method", intent["payment_method"])
    mandates.accept(sandbox, method)
    if intent["setup_future_usage"] and intent["customer"]:
        payment_methods.attach(sandbox, method, intent["customer"])
    payments.process(sandbox, intent)
    if session is not None and session["mode"] == "subscription" and session["subscription"] is None:
        checkout_completion.start_subscription(sandbox, session, intent)
    invoice = invoices.invoice_of(sandbox, intent)
    if invoice is not None:
        invoice.update(attempted=True, attempt_count=invoice["attempt_count"] + 1, next_payment_attempt=None)
        subscriptions.activate_on_processing(sandbox, invoice, intent)
    if session is not None and session["status"] == "open":
        checkout_completion.complete(sandbox, session, "unpaid")


def fail(sandbox: Sandbox, intent: Obj, decline: Decline, *, charged: bool = True) -> None:
    session = session_of(sandbox, intent)
    counted = _take_counted(sandbox, intent)
    payments.fail(sandbox, intent, decline, charged=charged)
    invoice = invoices.invoice_of(sandbox, intent)
    if invoice is not None and invoice["status"] == "open":
        if counted:
            invoice["attempt_count"] -= 1
        dunning.attempt_failed(sandbox, invoice)
    if session is not None and session["status"] == "complete":
        checkout_completion.finish_async_payment(sandbox, session, paid=False)
    elif session is not None:
        sandbox.internal.checkouts[session["id"]].error = decline.message


def session_of(sandbox: Sandbox, intent: Obj) -> Obj | None:
    """The checkout session of an intent; None for renewals of a subscription."""
    id = sandbox.internal.session_of.get(intent["id"])
    return sandbox.store.find(id) if id else None


def _take_counted(sandbox: Sandbox, intent: Obj) -> bool:
    """Whether this attempt was already counted: when its debit started, or when it required authentication."""
    counted = intent["status"] == "processing" or intent["id"] in sandbox.internal.action_required
    sandbox.internal.action_required.discard(intent["id"])
    return counted


def _forced_decline(sandbox: Sandbox, customer: str | None) -> Decline | None:
    forced = sandbox.internal.failing_charges.get(customer or "")
    if forced is None or not forced.remaining:
        return None
    forced.remaining -= 1
    if forced.decline_code == "authentication_required":
        return AUTHENTICATION_REQUIRED
    return Decline("card_declined", "Your card was declined.", forced.decline_code)
