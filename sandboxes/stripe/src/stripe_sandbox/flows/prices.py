"""Products and prices, existing or inline (`price_data`)."""

from __future__ import annotations

from typing import Any

import stripe

from stripe_sandbox.errors import StripeError, missing_param
from stripe_sandbox.ids import new_id
from stripe_sandbox.params import Params
from stripe_sandbox.shapes import build, part
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj

_RECURRING = {"interval_count": 1, "usage_type": "licensed"}


def create_product(sandbox: Sandbox, *, name: str, id: str | None = None, **values: Any) -> Obj:
    """Creates a product. Emits product.created."""
    now = sandbox.clock.now()
    values = {"active": True, "images": [], "marketing_features": [], "metadata": {}, **values}
    product = build(
        stripe.Product, id=id or new_id("prod", 14), created=now, updated=now, name=name, type="service", **values
    )
    sandbox.emit("product.created", sandbox.store.add(product))
    return product


def create_price(
    sandbox: Sandbox, *, currency: str, product: str, amount: int, recurring: Any = None, **values: Any
) -> Obj:
    """Creates a per-unit price of `amount` minor units. Emits price.created."""
    values = {"active": True, "metadata": {}, "tax_behavior": "unspecified", **values}
    price = build(
        stripe.Price,
        id=new_id("price"),
        billing_scheme="per_unit",
        created=sandbox.clock.now(),
        currency=check_currency(currency),
        product=product,
        recurring=part(stripe.Price.Recurring, **{**_RECURRING, **recurring}) if recurring else None,
        type="recurring" if recurring else "one_time",
        unit_amount=amount,
        unit_amount_decimal=str(amount),
        **values,
    )
    sandbox.emit("price.created", sandbox.store.add(price))
    return price


def resolve(sandbox: Sandbox, entry: Params, path: str) -> Obj:
    """The price of a line item: existing, or created from `price_data` (inactive, as Stripe's inline prices are)."""
    if "price" in entry:
        price = sandbox.store.param("price", entry["price"], f"{path}[price]")
        if not price["active"]:
            raise StripeError(
                f"The price specified is inactive. This field only accepts active prices: {price['id']}.",
                param=f"{path}[price]",
            )
        return price
    if "price_data" not in entry:
        raise missing_param(f"{path}[price]")
    data = entry["price_data"]
    return create_price(
        sandbox,
        currency=data["currency"],
        product=_product(sandbox, data, f"{path}[price_data]"),
        amount=unit_amount(data, f"{path}[price_data]"),
        recurring=data.get("recurring"),
        active=False,
    )


def unit_amount(data: Params, path: str) -> int:
    """The unit amount in minor units. Raises if it is missing, negative or a fraction (not supported)."""
    param = f"{path}[unit_amount]" if path else "unit_amount"
    if "unit_amount" in data:
        amount = int(data["unit_amount"])
    elif "unit_amount_decimal" in data:
        if data["unit_amount_decimal"] != int(data["unit_amount_decimal"]):
            raise StripeError("The sandbox does not support fractions of a cent.", param=f"{param}_decimal")
        amount = int(data["unit_amount_decimal"])
    else:
        raise missing_param(param)
    if amount < 0:
        raise StripeError("Invalid non-negative integer", code="parameter_invalid_integer", param=param)
    return amount


def check_currency(currency: str) -> str:
    """The currency in lower case. Raises unless it has three letters."""
    if len(currency) != 3 or not currency.isalpha():
        raise StripeError(f"Invalid currency: {currency}.", param="currency")
    return currency.lower()


def _product(sandbox: Sandbox, data: Params, path: str) -> str:
    if "product" in data:
        return str(sandbox.store.param("product", data["product"], f"{path}[product]")["id"])
    if "product_data" not in data:
        raise missing_param(f"{path}[product]")
    fields = {k: v for k, v in data["product_data"].items() if k in ("name", "description", "metadata", "images")}
    return str(create_product(sandbox, **fields)["id"])
