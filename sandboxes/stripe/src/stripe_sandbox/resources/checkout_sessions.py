"""/v1/checkout/sessions. `flows.checkout` has the customer's side."""

from __future__ import annotations

from typing import Any

import stripe
import stripe.params.checkout as p
from stripe.checkout import Session

from stripe_sandbox.checkout_plan import CheckoutLine, CheckoutPlan
from stripe_sandbox.clock import DAY
from stripe_sandbox.errors import StripeError, missing_param
from stripe_sandbox.expansion import ON_REQUEST
from stripe_sandbox.flows import checkout, checkout_completion, discounts, prices, taxes
from stripe_sandbox.ids import new_id, random_text
from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.params import Params, merge_metadata
from stripe_sandbox.shapes import build, part, snapshot_list
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def create(call: Call) -> Obj:
    params, sandbox = call.params, call.sandbox
    _require_params(sandbox, params)
    lines = [_line(sandbox, entry, i, params["mode"]) for i, entry in enumerate(params.get("line_items", []))]
    _check_prices(params["mode"], lines)
    invoice = params.get("invoice_creation") or {}
    plan = CheckoutPlan(
        lines=lines,
        payment_intent_data=params.get("payment_intent_data") or {},
        subscription_data=params.get("subscription_data") or {},
        invoice_data=(invoice.get("invoice_data") or {}) if invoice.get("enabled") else None,
        requires_customer=params.get("customer_creation") == "always" or bool(invoice.get("enabled")),
    )
    session = _session(sandbox, params, lines)
    sandbox.internal.checkouts[session["id"]] = plan
    for given in params.get("discounts") or []:
        _discount(sandbox, session, plan, given)
    try:
        checkout.price(sandbox, session)
    except StripeError:
        del sandbox.internal.checkouts[session["id"]]
        raise
    return sandbox.store.add(session)


def _require_params(sandbox: Sandbox, params: Params) -> None:
    if "mode" not in params:
        raise missing_param("mode")
    if params["mode"] != "setup" and not params.get("line_items"):
        raise missing_param("line_items")
    if (params.get("payment_intent_data") or {}).get("capture_method") == "manual":
        raise StripeError("The sandbox does not support manual capture.", param="payment_intent_data[capture_method]")
    if params.get("ui_mode", "hosted_page") == "hosted_page" and "success_url" not in params:
        raise missing_param("success_url")
    if "customer" in params:
        sandbox.store.param("customer", params["customer"], "customer")


def update(call: Call) -> Obj:
    session = call.sandbox.store.get("checkout.session", call.id)
    if "metadata" in call.params:
        session["metadata"] = merge_metadata(session["metadata"], call.params["metadata"])
    return session


def expire(call: Call) -> Obj:
    session = call.sandbox.store.get("checkout.session", call.id)
    if session["status"] != "open":
        raise StripeError(
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of '
            f"`{session['status']}`."
        )
    checkout_completion.expire(call.sandbox, session)
    return session


def list_all(call: Call) -> Obj:
    fields = ("customer", "payment_intent", "subscription", "status")
    found = matching(call.sandbox.store.all("checkout.session"), call.params, *fields)
    if (details := call.params.get("customer_details")) is not None:
        found = [s for s in found if (s["customer_details"] or {}).get("email") == details["email"]]
    return page(call, found, "/v1/checkout/sessions")


def line_items(call: Call) -> Obj:
    session = call.sandbox.store.get("checkout.session", call.id)
    items = [line.item for line in call.sandbox.internal.checkouts[call.id].lines]
    return page(call, items[::-1], f"/v1/checkout/sessions/{session['id']}/line_items")


def _session(sandbox: Sandbox, params: Params, lines: list[CheckoutLine]) -> Obj:
    id = f"cs_test_a1{random_text(56)}"
    now = sandbox.clock.now_for(params.get("customer"))
    currency = lines[0].price["currency"] if lines else params.get("currency")
    ui_mode = params.get("ui_mode", "hosted_page")
    email = params.get("customer_email")
    return build(
        Session,
        id=id,
        adaptive_pricing=part(Session.AdaptivePricing, enabled=False),
        allow_promotion_codes=params.get("allow_promotion_codes"),
        allowed_payment_method_types=params.get("allowed_payment_method_types"),
        excluded_payment_method_types=params.get("excluded_payment_method_types"),
        automatic_tax=taxes.setting(Session.AutomaticTax, params.get("automatic_tax")),
        billing_address_collection=params.get("billing_address_collection"),
        cancel_url=params.get("cancel_url"),
        client_reference_id=params.get("client_reference_id"),
        client_secret=f"{id}_secret_{random_text(20)}" if ui_mode != "hosted_page" else None,
        created=now,
        currency=currency,
        custom_fields=[],
        custom_text=part(Session.CustomText),
        customer=params.get("customer"),
        customer_creation=_customer_creation(params),
        customer_details=checkout_completion.details_of(email) if email else None,
        customer_email=email,
        discounts=[],
        expires_at=params.get("expires_at", now + DAY),
        integration_identifier=params.get("integration_identifier"),
        invoice_creation=_invoice_creation(params),
        locale=params.get("locale"),
        metadata=merge_metadata({}, params.get("metadata")),
        mode=params["mode"],
        origin_context=params.get("origin_context"),
        payment_method_collection="always" if params["mode"] == "subscription" else "if_required",
        payment_method_options={},
        payment_method_types=[],
        payment_status="no_payment_required" if params["mode"] == "setup" else "unpaid",
        phone_number_collection={"enabled": bool((params.get("phone_number_collection") or {}).get("enabled"))},
        shipping_options=[],
        status="open",
        submit_type=params.get("submit_type"),
        success_url=params.get("success_url"),
        ui_mode=ui_mode,
        url=sandbox.url(f"/c/pay/{id}") if ui_mode == "hosted_page" else None,
    )


def _line(sandbox: Sandbox, entry: Params, position: int, mode: str) -> CheckoutLine:
    path = f"line_items[{position}]"
    if "quantity" not in entry:
        raise StripeError("Quantity is required. Add `quantity` to `" + path + "`", param=f"{path}[quantity]")
    if entry["quantity"] < 1:
        raise StripeError("The minimum quantity is 1.", code="parameter_invalid_integer", param=f"{path}[quantity]")
    price = prices.resolve(sandbox, entry, path)
    product = sandbox.store.get("product", price["product"])
    amount = (price["unit_amount"] or 0) * entry["quantity"]
    item = build(
        stripe.LineItem,
        id=new_id("li"),
        amount_discount=0,
        amount_subtotal=amount,
        amount_tax=0,
        amount_total=amount,
        currency=price["currency"],
        description=product["name"],
        price=price,
        quantity=entry["quantity"],
        metadata=dict(entry.get("metadata") or {}),
    )
    return CheckoutLine(item, price, entry["quantity"])


def _check_prices(mode: str, lines: list[CheckoutLine]) -> None:
    recurring = [line for line in lines if line.price["recurring"]]
    if mode == "payment" and recurring:
        raise StripeError(
            "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use "
            "only one-time prices.",
            param="mode",
        )
    if mode == "subscription" and not recurring:
        raise StripeError(
            "You must provide at least one recurring price in `subscription` mode when using prices.",
            param="line_items",
        )
    if len({line.price["currency"] for line in lines}) > 1:
        raise StripeError("All line items must have the same currency.", param="line_items")


def _discount(sandbox: Sandbox, session: Obj, plan: CheckoutPlan, given: Params) -> None:
    if "promotion_code" in given:
        code = sandbox.store.param("promotion_code", given["promotion_code"], "discounts[0][promotion_code]")
        subtotal = sum(line.item["amount_subtotal"] for line in plan.lines)
        discounts.check_promotion(sandbox, code, subtotal)
        plan.promotion_code, plan.discount = code["id"], discounts.coupon_of(sandbox, code)
    elif "coupon" in given:
        coupon = sandbox.store.param("coupon", given["coupon"], "discounts[0][coupon]")
        if not discounts.usable(sandbox, coupon):
            raise StripeError(f"Coupon expired: {coupon['id']}", code="coupon_expired", param="discounts[0][coupon]")
        plan.discount = coupon
    else:
        raise missing_param("discounts[0][coupon]")
    session["discounts"] = [{"coupon": given.get("coupon"), "promotion_code": given.get("promotion_code")}]


def _customer_creation(params: Params) -> Any:
    if params["mode"] == "subscription":
        return "always"
    if "customer" in params:
        return None
    enabled = (params.get("invoice_creation") or {}).get("enabled")
    return params.get("customer_creation", "always" if enabled else "if_required")


def _invoice_creation(params: Params) -> Obj | None:
    if params["mode"] != "payment":
        return None
    given = params.get("invoice_creation") or {"enabled": False}
    fields = ("description", "footer", "metadata", "custom_fields")
    data = {name: value or None for name, value in (given.get("invoice_data") or {}).items() if name in fields}
    return {
        "enabled": given["enabled"],
        "invoice_data": part(Session.InvoiceCreation.InvoiceData, issuer={"type": "self"}, **data),
    }


def _line_items_on_request(sandbox: Sandbox, session: Obj) -> Obj:
    items = [line.item for line in sandbox.internal.checkouts[session["id"]].lines]
    return snapshot_list(items, f"/v1/checkout/sessions/{session['id']}/line_items")


ON_REQUEST["checkout.session", "line_items"] = _line_items_on_request

OPERATIONS = [
    Operation("POST", "/v1/checkout/sessions", p.SessionCreateParams, create),
    Operation("GET", "/v1/checkout/sessions", p.SessionListParams, list_all),
    Operation("GET", "/v1/checkout/sessions/{id}", p.SessionRetrieveParams, retrieve("checkout.session")),
    Operation("POST", "/v1/checkout/sessions/{id}", p.SessionUpdateParams, update),
    Operation("GET", "/v1/checkout/sessions/{id}/line_items", p.SessionLineItemListParams, line_items),
    Operation("POST", "/v1/checkout/sessions/{id}/expire", p.SessionExpireParams, expire),
]
