"""Money arrives, fails or is on its way: everything that follows, in Stripe's order.

An intent may pay for a checkout session, for an invoice, for both, or for nothing else. The order of the events is:
what an invoice says (subscription, invoice, invoice payment), then the intent and the charge, then the session.
"""

from stripe_sandbox.flows import checkout_completion, dunning, invoicing, payment_methods, payments, subscribing
from stripe_sandbox.flows.payments import AUTHENTICATION_FAILED, AUTHENTICATION_REQUIRED, Decline
from stripe_sandbox.instruments import Behavior
from stripe_sandbox.methods import reusable
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def attempt(sandbox: Sandbox, intent: Obj, method: Obj, *, present: bool = True, return_url: str | None = None) -> None:
    """Try to take the money with a payment method. `present`: the customer is there and could pass 3-D Secure.

    Never raises; the intent's status and its last_payment_error say what came of it.
    """
    intent.update(payment_method=method["id"], last_payment_error=None)
    instrument = sandbox.hidden.instruments[method["id"]]
    refused = refusal(sandbox, intent["customer"], method, present=present)
    if refused is not None:
        fail(sandbox, intent, refused)
    elif instrument.behavior is Behavior.SETTLES_LATER:
        process(sandbox, intent)
    elif instrument.behavior is Behavior.NEEDS_ACTION and present:
        payments.require_action(sandbox, intent, return_url)
    else:
        succeed(sandbox, intent)


def refusal(sandbox: Sandbox, customer: str | None, method: Obj, *, present: bool) -> Decline | None:
    """Why the bank would refuse a charge now; none when it would not. Uses up one of the failures that are ordered."""
    instrument = sandbox.hidden.instruments[method["id"]]
    if not present and (ordered := _ordered_to_fail(sandbox, customer)) is not None:
        return ordered
    if instrument.behavior is Behavior.DECLINES:
        return Decline.of(instrument)
    agreed = method["id"] in sandbox.hidden.set_up and not instrument.always_asks
    if instrument.behavior is Behavior.NEEDS_ACTION and not present and not agreed:
        return AUTHENTICATION_REQUIRED
    return None


def authenticated(sandbox: Sandbox, intent: Obj, *, passed: bool) -> None:
    """The customer came back from the 3-D Secure page."""
    if passed:
        if intent["setup_future_usage"] == "off_session":
            sandbox.hidden.set_up.add(intent["payment_method"])
        succeed(sandbox, intent)
    else:
        fail(sandbox, intent, AUTHENTICATION_FAILED, charged=False)


def succeed(sandbox: Sandbox, intent: Obj) -> None:
    session = session_of(sandbox, intent)
    later = intent["status"] == "processing"
    charge = payments.record_success(sandbox, intent)
    method = sandbox.store.get("payment_method", intent["payment_method"])
    if intent["setup_future_usage"] and intent["customer"] and reusable(method["type"]):
        payment_methods.attach(sandbox, method, intent["customer"])
    if session is not None and session["mode"] == "subscription" and session["subscription"] is None:
        checkout_completion.start_subscription(sandbox, session, intent)
    invoice = invoicing.invoice_of(sandbox, intent)
    if invoice is not None and invoice["status"] in ("open", "uncollectible"):
        invoicing.pay(sandbox, invoice, attempted=not later)
    payments.announce_success(sandbox, intent, charge)
    if session is not None:
        checkout_completion.invoice_payment(sandbox, session, intent)
        if session["status"] == "open":
            checkout_completion.complete(sandbox, session, "paid")
        else:
            checkout_completion.settled_later(sandbox, session, paid=True)
    if invoice is not None and (subscription := subscribing.subscription_of(sandbox, invoice)) is not None:
        subscribing.caught_up(sandbox, subscription, method)


def process(sandbox: Sandbox, intent: Obj) -> None:
    """A bank debit has been started; the session is complete but unpaid."""
    session = session_of(sandbox, intent)
    payments.process(sandbox, intent)
    if session is not None and session["mode"] == "subscription" and session["subscription"] is None:
        checkout_completion.start_subscription(sandbox, session, intent)
    invoice = invoicing.invoice_of(sandbox, intent)
    if invoice is not None:
        invoice.update(attempted=True, attempt_count=invoice["attempt_count"] + 1, next_payment_attempt=None)
        subscribing.trusted(sandbox, invoice, intent)
    if session is not None and session["status"] == "open":
        checkout_completion.complete(sandbox, session, "unpaid")


def fail(sandbox: Sandbox, intent: Obj, decline: Decline, *, charged: bool = True) -> None:
    session = session_of(sandbox, intent)
    later = intent["status"] == "processing"
    payments.fail(sandbox, intent, decline, charged=charged)
    invoice = invoicing.invoice_of(sandbox, intent)
    if invoice is not None and invoice["status"] == "open":
        if later:
            invoice["attempt_count"] -= 1  # the same attempt: it was counted when the debit was started
        dunning.attempt_failed(sandbox, invoice)
    if session is not None and session["status"] == "complete":
        checkout_completion.settled_later(sandbox, session, paid=False)
    elif session is not None:
        sandbox.hidden.checkouts[session["id"]].error = decline.message


def session_of(sandbox: Sandbox, intent: Obj) -> Obj | None:
    """The checkout session that an intent pays for; a subscription's later intents have none."""
    id = sandbox.hidden.session_of.get(intent["id"])
    return sandbox.store.find(id) if id else None


def _ordered_to_fail(sandbox: Sandbox, customer: str | None) -> Decline | None:
    ordered = sandbox.hidden.failing_charges.get(customer or "")
    if ordered is None or not ordered.left:
        return None
    ordered.left -= 1
    if ordered.decline_code == "authentication_required":
        return AUTHENTICATION_REQUIRED
    return Decline("card_declined", "Your card was declined.", ordered.decline_code)
