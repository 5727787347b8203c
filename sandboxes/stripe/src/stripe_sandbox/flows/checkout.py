"""Payment of a checkout session: totals, available methods, promotion codes, attempts."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import stripe
from pydantic import BaseModel, ConfigDict

from stripe_sandbox import amounts
from stripe_sandbox.errors import StripeError
from stripe_sandbox.flows import checkout_completion, discounts, payment_methods, payments, settlement, taxes
from stripe_sandbox.ids import new_id
from stripe_sandbox.instruments import Instrument, affirm, bank_account, card, wallet
from stripe_sandbox.methods import eligible
from stripe_sandbox.rules.checkout_sessions import TOTAL_TOO_SMALL
from stripe_sandbox.shapes import build
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


class PaymentForm(BaseModel):
    """The submitted payment form. Fields of other methods than `method` are ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = "card"
    card: str = "4242424242424242"
    phone: str = "555-555-5555"
    wallet: Literal["apple_pay", "google_pay"] | None = None
    account: Literal["verified", "failing", "closed", "microdeposits"] = "verified"
    authorize: bool = True
    email: str | None = None
    name: str | None = None

    def instrument(self) -> Instrument:
        """Raises a StripeError for an invalid card number or phone."""
        if self.method == "card":
            return replace(card(self.card), wallet=self.wallet)
        if self.method == "us_bank_account":
            failure = {"failing": "insufficient_funds", "closed": "account_closed"}.get(self.account)
            return bank_account(failure, verified=self.account != "microdeposits")
        if self.method == "affirm":
            return affirm(self.phone)
        return wallet(self.method, authorized=self.authorize)


def pay(sandbox: Sandbox, session: Obj, form: PaymentForm) -> None:
    """Attempts payment. Raises a StripeError for invalid input; a decline sets the plan's `error`."""
    require_open(session)
    plan = sandbox.internal.checkouts[session["id"]]
    plan.error = None
    plan.email = form.email or _email_on_file(sandbox, session) or plan.email
    plan.name = form.name or plan.name
    if not plan.email:
        raise StripeError("Your email is incomplete.", param="email")
    if session["amount_total"] == 0 and session["mode"] != "setup":
        _complete_free(sandbox, session, form)
        return
    if form.method not in session["payment_method_types"]:
        raise StripeError(f"The payment method {form.method} is not available for this payment.", param="method")
    instrument = form.instrument()
    method = payment_methods.create(sandbox, instrument, payment_methods.billing_details(plan.email, plan.name))
    if session["mode"] == "setup":
        _save_method(sandbox, session, method)
    else:
        intent = _intent(sandbox, session)
        settlement.attempt(sandbox, intent, method, return_url=session["success_url"])


def apply_promotion(sandbox: Sandbox, session: Obj, code: str) -> None:
    """Applies a promotion code entered by the customer. Raises a StripeError if it is not valid."""
    require_open(session)
    if not session["allow_promotion_codes"]:
        raise StripeError("Promotion codes are not enabled for this Checkout Session.", param="promotion_code")
    promotion = discounts.by_code(sandbox, code, session["amount_subtotal"])
    plan = sandbox.internal.checkouts[session["id"]]
    plan.promotion_code = promotion["id"]
    plan.discount = discounts.coupon_of(sandbox, promotion)
    session["discounts"] = [{"coupon": None, "promotion_code": promotion["id"]}]
    price(sandbox, session)


def price(sandbox: Sandbox, session: Obj) -> None:
    """Computes the totals and the available methods. Raises if the total is below the minimum charge."""
    plan = sandbox.internal.checkouts[session["id"]]
    trial = checkout_completion.trial_end_of(sandbox, plan.subscription_data, session["customer"]) is not None
    due = [0 if trial and line.price["recurring"] else line.item["amount_subtotal"] for line in plan.lines]
    off = discounts.amount_off(plan.discount, sum(due))
    left = off
    for line, amount in zip(plan.lines, due, strict=True):
        share = min(amount, left)
        left -= share
        line.item.update(amount_subtotal=amount, amount_discount=share, amount_total=amount - share)
    tax = _tax(sandbox, session, [line.item for line in plan.lines])
    total = sum(due) - off + tax
    minimum = amounts.minimum_charge(session["currency"] or "usd")
    if 0 < total < minimum:
        raise TOTAL_TOO_SMALL.error(minimum=amounts.written(minimum, session["currency"]))
    session.update(
        amount_subtotal=sum(due),
        amount_total=total,
        total_details={"amount_discount": off, "amount_shipping": 0, "amount_tax": tax},
    )
    session["payment_method_types"] = eligible(
        total or None,
        session["currency"],
        session["mode"],
        allowed=session["allowed_payment_method_types"],
        excluded=session["excluded_payment_method_types"],
        saved=bool(plan.payment_intent_data.get("setup_future_usage")),
    )
    if not session["payment_method_types"] and total:
        raise StripeError(
            "No valid payment method types for this Checkout Session. Please ensure that you have activated payment "
            "methods compatible with your chosen currency and amount, and that they are among the allowed ones.",
            param="allowed_payment_method_types",
        )


def require_open(session: Obj) -> None:
    if session["status"] != "open":
        raise StripeError(
            f"This Checkout Session is {session['status']}; only an open one can be paid or expired.",
        )


def success_url(session: Obj) -> str:
    """The success URL, with {CHECKOUT_SESSION_ID} replaced."""
    return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])


def _complete_free(sandbox: Sandbox, session: Obj, form: PaymentForm) -> None:
    if session["mode"] == "subscription":
        subscription = checkout_completion.start_subscription(sandbox, session, None)
        method = payment_methods.create(sandbox, form.instrument(), payment_methods.billing_details(form.email))
        payment_methods.attach(sandbox, method, subscription["customer"])
        subscription["default_payment_method"] = method["id"]
    checkout_completion.invoice_payment(sandbox, session, None)
    checkout_completion.complete(sandbox, session, "no_payment_required")


def _save_method(sandbox: Sandbox, session: Obj, method: Obj) -> None:
    """Setup mode: saves the method without a charge."""
    customer = checkout_completion.customer_for(sandbox, session)
    if customer is not None:
        payment_methods.attach(sandbox, method, customer)
    sandbox.internal.set_up.add(method["id"])
    id = new_id("seti")
    intent = build(
        stripe.SetupIntent,
        id=id,
        client_secret=f"{id}_secret",
        created=sandbox.clock.now(),
        customer=customer,
        metadata={},
        payment_method=method["id"],
        payment_method_types=session["payment_method_types"],
        status="succeeded",
        usage="off_session",
    )
    sandbox.store.add(intent)
    session["setup_intent"] = id
    sandbox.emit("setup_intent.created", intent)
    sandbox.emit("setup_intent.succeeded", intent)
    checkout_completion.complete(sandbox, session, "no_payment_required")


def _intent(sandbox: Sandbox, session: Obj) -> Obj:
    """The session's payment intent, created by the first attempt. A later promotion code changes its amount."""
    plan = sandbox.internal.checkouts[session["id"]]
    if plan.intent is not None:
        intent = sandbox.store.get("payment_intent", plan.intent)
        intent["amount"] = session["amount_total"]
        return intent
    customer = checkout_completion.customer_for(sandbox, session)
    data = plan.payment_intent_data
    intent = payments.create_intent(
        sandbox,
        amount=session["amount_total"],
        currency=session["currency"],
        customer=customer,
        description=data.get("description") or ("Subscription creation" if session["mode"] == "subscription" else None),
        metadata=dict(data.get("metadata") or {}),
        payment_method_types=list(session["payment_method_types"]),
        receipt_email=data.get("receipt_email"),
        setup_future_usage=data.get("setup_future_usage")
        or ("off_session" if session["mode"] == "subscription" else None),
        statement_descriptor=data.get("statement_descriptor"),
        statement_descriptor_suffix=data.get("statement_descriptor_suffix"),
    )
    plan.intent = intent["id"]
    sandbox.internal.session_of[intent["id"]] = session["id"]
    if session["mode"] == "payment":
        session["payment_intent"] = intent["id"]
    return intent


def _tax(sandbox: Sandbox, session: Obj, items: list[Obj]) -> int:
    """Adds tax to each line. Returns the total tax."""
    rate = taxes.basis_points(sandbox, session["customer"], session["automatic_tax"])
    each = taxes.spread([item["amount_total"] for item in items], rate)
    for item, tax in zip(items, each, strict=True):
        item.update(amount_tax=tax, amount_total=item["amount_total"] + tax)
    return sum(each)


def _email_on_file(sandbox: Sandbox, session: Obj) -> str | None:
    if session["customer"] is not None:
        email: str | None = sandbox.store.get("customer", session["customer"])["email"]
        return email or session["customer_email"]
    given: str | None = session["customer_email"]
    return given
