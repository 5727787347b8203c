"""What Stripe is asked for: the body of a checkout session, made once per purchase and kept with it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from checkout import payment_methods
from checkout.domain import Wish, charges
from contracts.money import Money


def metadata(purchase_id: UUID, wish: Wish) -> dict[str, str]:
    """What every Stripe object of a purchase carries: the gateway reads these names. No personal data."""
    known = {
        "purchase_id": str(purchase_id),
        "student_id": str(wish.student_id),
        "program_id": wish.program.id,
        "program_slug": wish.program.slug,
        "program_name": wish.program.title,
        "provider": wish.program.provider,
        "payer": wish.payer,
        "funding_source": wish.funding_source,
        "instalments": str(wish.instalments) if wish.instalments else None,
    }
    return {name: value for name, value in known.items() if value}


@dataclass(frozen=True, kw_only=True)
class PlanPrice:
    """The regular instalment, as a price that Stripe keeps. `key` names it for good.

    A price that is described in the session itself is made inactive, and an inactive price may not be taken into the
    schedule that ends the plan.
    """

    key: str
    name: str
    amount: Money


def plan_price(wish: Wish) -> PlanPrice:
    """Raises ValueError when the amount cannot be split."""
    regular = charges(amount=wish.amount, payment_type="plan")[-1]
    name = f"{wish.program.title}, {wish.instalments} monthly instalments"
    called = uuid5(NAMESPACE_URL, name).hex[:8]
    return PlanPrice(
        key=f"plan/{wish.program.slug}/{regular.currency}/{regular.amount}/{called}", name=name, amount=regular
    )


def session_params(
    *, purchase_id: UUID, wish: Wish, frontend_url: str, email: str | None, plan_price_id: str | None
) -> dict[str, Any]:
    """The session's parameters, as the SDK takes them. `email` fills in the page's field; a plan needs its price's id.

    Raises ValueError when the amount cannot be split into the plan's instalments, or no method takes them.
    """
    data = metadata(purchase_id, wish)
    methods = payment_methods.allowed(amount=wish.amount, payer=wish.payer, payment_type=wish.payment_type)
    if not methods:  # an empty list would allow all of them
        raise ValueError("no payment method takes this amount")
    params: dict[str, Any] = {
        "ui_mode": "hosted_page",
        "client_reference_id": str(purchase_id),
        "success_url": f"{frontend_url}/enroll/success?session_id={{CHECKOUT_SESSION_ID}}&program={wish.program.slug}",
        "cancel_url": f"{frontend_url}/enroll",
        "allowed_payment_method_types": methods,
        "metadata": data,
        **(_plan(wish, data, plan_price_id) if plan_price_id else _in_full(wish, data)),
    }
    if email:
        params["customer_email"] = email
    return params


def _in_full(wish: Wish, data: dict[str, str]) -> dict[str, Any]:
    title = wish.program.title
    params: dict[str, Any] = {
        "mode": "payment",
        "line_items": [_line(title, wish.amount)],
        "payment_intent_data": {"description": title, "metadata": data},
    }
    if wish.payer == "sponsor":
        params["invoice_creation"] = {"enabled": True, "invoice_data": {"description": title, "metadata": data}}
    return params


def _plan(wish: Wish, data: dict[str, str], price_id: str) -> dict[str, Any]:
    """The regular instalment recurs; what the first one has on top is a line of the first invoice only."""
    title = wish.program.title
    first, *others = charges(amount=wish.amount, payment_type="plan")
    lines: list[dict[str, Any]] = [{"quantity": 1, "price": price_id}]
    if (remainder := first - others[0]).amount:
        lines.append(_line(f"{title}, remainder of the first instalment", remainder))
    return {
        "mode": "subscription",
        "line_items": lines,
        "subscription_data": {"description": title, "metadata": data},
    }


def _line(name: str, amount: Money) -> dict[str, Any]:
    price = {"currency": amount.currency, "unit_amount": amount.amount, "product_data": {"name": name}}
    return {"quantity": 1, "price_data": price}
