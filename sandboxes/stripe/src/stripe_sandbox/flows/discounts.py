"""Coupons, promotion codes and discounts."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import stripe

from stripe_sandbox.errors import StripeError
from stripe_sandbox.ids import new_id
from stripe_sandbox.shapes import build
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def amount_off(coupon: Obj | None, subtotal: int) -> int:
    """The discount in minor units; a percentage is rounded half up."""
    if coupon is None:
        return 0
    if coupon["percent_off"] is not None:
        exact = Decimal(max(subtotal, 0)) * Decimal(str(coupon["percent_off"])) / 100
        return int(exact.quantize(Decimal(1), ROUND_HALF_UP))
    return min(max(subtotal, 0), int(coupon["amount_off"]))


def usable(sandbox: Sandbox, coupon: Obj) -> bool:
    """Whether a coupon is valid, not expired and not fully redeemed."""
    left = coupon["max_redemptions"] is None or coupon["times_redeemed"] < coupon["max_redemptions"]
    in_time = coupon["redeem_by"] is None or coupon["redeem_by"] > sandbox.clock.now()
    return bool(coupon["valid"]) and left and in_time


def by_code(sandbox: Sandbox, code: str, subtotal: int) -> Obj:
    """The active promotion code with this `code`. Raises a 400 if it does not exist or cannot be redeemed."""
    for promotion in sandbox.store.where("promotion_code", active=True):
        if promotion["code"].lower() == code.strip().lower():
            return check_promotion(sandbox, promotion, subtotal)
    raise StripeError("This code is invalid.", param="promotion_code")


def check_promotion(sandbox: Sandbox, promotion: Obj, subtotal: int) -> Obj:
    """Raises unless the promotion code can be redeemed for this subtotal in minor units."""
    minimum = promotion["restrictions"]["minimum_amount"] or 0
    expired = promotion["expires_at"] is not None and promotion["expires_at"] <= sandbox.clock.now()
    used_up = promotion["max_redemptions"] is not None and promotion["times_redeemed"] >= promotion["max_redemptions"]
    good = promotion["active"] and not expired and not used_up and subtotal >= minimum
    if not good or not usable(sandbox, coupon_of(sandbox, promotion)):
        raise StripeError("This promotion code cannot be redeemed.", code="coupon_expired", param="promotion_code")
    return promotion


def coupon_of(sandbox: Sandbox, promotion: Obj) -> Obj:
    return sandbox.store.get("coupon", promotion["promotion"]["coupon"])


def redeem(sandbox: Sandbox, coupon: Obj, promotion_code: str | None) -> None:
    coupon["times_redeemed"] += 1
    coupon["valid"] = coupon["times_redeemed"] != coupon["max_redemptions"]
    if promotion_code is not None:
        sandbox.store.get("promotion_code", promotion_code)["times_redeemed"] += 1


def discount(sandbox: Sandbox, coupon: Obj, *, promotion_code: str | None = None, **on: str | None) -> Obj:
    """Creates a discount: a coupon applied to a customer's invoice or subscription (`on`)."""
    return sandbox.store.add(
        build(
            stripe.Discount,
            id=new_id("di"),
            promotion_code=promotion_code,
            source={"type": "coupon", "coupon": coupon["id"]},
            start=sandbox.clock.now(),
            **on,
        )
    )
