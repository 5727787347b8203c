"""The body of a Checkout session, built once per purchase and stored with it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from checkout.purchases import payment_methods
from checkout.purchases.context import Returns
from checkout.purchases.domain import PurchaseRequest, installment_id
from checkout.purchases.stripe_metadata import metadata
from contracts.money import Money


@dataclass(frozen=True, kw_only=True)
class Discount:
    """A coupon for this purchase only, and what it takes off."""

    coupon_id: str
    amount: Money


def session_params(
    *,
    purchase_id: UUID,
    request: PurchaseRequest,
    frontend_url: str,
    email: str | None,
    customer_id: str | None = None,
    discount: Discount | None = None,
    recurring_price_id: str | None = None,
    automatic_tax: bool = False,
    returns: Returns | None = None,
    expires_at: datetime | None = None,
) -> dict[str, object]:
    """The session's parameters for the SDK. `email` prefills the page where there is no customer; a subscription needs
    its price's id. The page of a plan takes its first installment and saves the payment method, for which it needs a
    customer. `expires_at`: 30 minutes to 24 hours after the session's creation, which is also the default
    (stripe.params.checkout.SessionCreateParams).

    Raises ValueError when the amount cannot be split into the plan's installments, or no method accepts them.
    """
    first = f"{installment_id(purchase_id, 1)}:1" if request.due else None
    data = metadata(purchase_id, request, installment=first)
    params: dict[str, object] = {
        "ui_mode": "hosted_page",
        "client_reference_id": str(purchase_id),
        "success_url": returns.success_url if returns else _success_url(frontend_url, request),
        "cancel_url": returns.cancel_url if returns else f"{frontend_url}/enroll",
        "metadata": data,
        **(_recurring(request, data, recurring_price_id) if recurring_price_id else _in_full(request, data, discount)),
    }
    if request.amount.amount:
        methods = payment_methods.allowed(amount=request.amount, payer=request.payer, payment_type=request.payment_type)
        if not methods:  # an empty list would allow all of them
            raise ValueError("no payment method accepts this amount")
        params["allowed_payment_method_types"] = methods
    if customer_id:
        params["customer"] = customer_id
    elif email:
        params["customer_email"] = email
    if expires_at is not None:
        params["expires_at"] = int(expires_at.timestamp())
    if automatic_tax:
        params["automatic_tax"] = {"enabled": True}
        if customer_id:
            params["customer_update"] = {"address": "auto"}
    return params


def _success_url(frontend_url: str, request: PurchaseRequest) -> str:
    return f"{frontend_url}/enroll/success?session_id={{CHECKOUT_SESSION_ID}}&program={request.program.slug}"


def _in_full(request: PurchaseRequest, data: dict[str, str], discount: Discount | None) -> dict[str, object]:
    title, total = request.program.title, request.amount
    if request.due is not None:  # the discount is part of every installment
        title, total, discount = f"{title}, installment 1 of {request.installments}", request.due, None
    params: dict[str, object] = {
        "mode": "payment",
        "line_items": [_line(title, total + discount.amount if discount else total)],
    }
    if discount:
        params["discounts"] = [{"coupon": discount.coupon_id}]
    if request.amount.amount:
        intent: dict[str, object] = {"description": title, "metadata": data}
        if request.due is not None:
            intent["setup_future_usage"] = "off_session"
        params["payment_intent_data"] = intent
    return params


def _recurring(request: PurchaseRequest, data: dict[str, str], price_id: str) -> dict[str, object]:
    return {
        "mode": "subscription",
        "line_items": [{"quantity": 1, "price": price_id}],
        "subscription_data": {"description": request.program.title, "metadata": data},
    }


def _line(name: str, amount: Money) -> dict[str, object]:
    price = {
        "currency": amount.currency,
        "unit_amount": amount.amount,
        "tax_behavior": "exclusive",
        "product_data": {"name": name},
    }
    return {"quantity": 1, "price_data": price}
