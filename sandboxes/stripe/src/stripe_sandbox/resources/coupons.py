"""/v1/coupons and /v1/promotion_codes"""

from __future__ import annotations

import stripe
import stripe.params as p

from stripe_sandbox.errors import StripeError, missing_param
from stripe_sandbox.flows.prices import check_currency
from stripe_sandbox.ids import new_id, random_text
from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.params import merge_metadata
from stripe_sandbox.shapes import build, part
from stripe_sandbox.state import copy_of
from stripe_sandbox.store import Obj


def create_coupon(call: Call) -> Obj:
    params, sandbox = call.params, call.sandbox
    if "amount_off" in params and "currency" not in params:
        raise missing_param("currency")
    duration = params.get("duration", "once")
    id = params.get("id") or random_text(8)
    if sandbox.store.find(id):
        raise StripeError("Coupon already exists.", code="resource_already_exists", param="id")
    coupon = build(
        stripe.Coupon,
        id=id,
        amount_off=params.get("amount_off"),
        created=sandbox.clock.now(),
        currency=check_currency(params["currency"]) if "currency" in params else None,
        duration=duration,
        duration_in_months=params.get("duration_in_months"),
        max_redemptions=params.get("max_redemptions"),
        metadata=merge_metadata({}, params.get("metadata")),
        name=params.get("name"),
        percent_off=params.get("percent_off"),
        redeem_by=params.get("redeem_by"),
        times_redeemed=0,
        valid=True,
    )
    sandbox.emit("coupon.created", sandbox.store.add(coupon))
    return coupon


def update_coupon(call: Call) -> Obj:
    """Updates name and metadata; the discount itself is immutable."""
    coupon = call.sandbox.store.get("coupon", call.id)
    before = copy_of(coupon)
    coupon["name"] = call.params.get("name", coupon["name"]) or None
    if "metadata" in call.params:
        coupon["metadata"] = merge_metadata(coupon["metadata"], call.params["metadata"])
    if before != coupon:
        call.sandbox.emit("coupon.updated", coupon, before)
    return coupon


def delete_coupon(call: Call) -> Obj:
    coupon = call.sandbox.store.get("coupon", call.id)
    call.sandbox.store.remove(coupon)
    call.sandbox.emit("coupon.deleted", coupon)
    return {"id": call.id, "object": "coupon", "deleted": True}


def list_coupons(call: Call) -> Obj:
    return page(call, matching(call.sandbox.store.all("coupon"), call.params), "/v1/coupons")


def create_promotion_code(call: Call) -> Obj:
    params, sandbox = call.params, call.sandbox
    promotion = params["promotion"]
    if "coupon" not in promotion:
        raise missing_param("promotion[coupon]")
    sandbox.store.param("coupon", promotion["coupon"], "promotion[coupon]")
    code = params.get("code") or random_text(8).upper()
    created = build(
        stripe.PromotionCode,
        id=new_id("promo"),
        active=params.get("active", True),
        code=code,
        created=sandbox.clock.now(),
        customer=params.get("customer"),
        expires_at=params.get("expires_at"),
        max_redemptions=params.get("max_redemptions"),
        metadata=merge_metadata({}, params.get("metadata")),
        promotion={"type": "coupon", "coupon": promotion["coupon"]},
        restrictions=part(
            stripe.PromotionCode.Restrictions,
            **{"first_time_transaction": False, **(params.get("restrictions") or {})},
        ),
        times_redeemed=0,
    )
    sandbox.emit("promotion_code.created", sandbox.store.add(created))
    return created


def update_promotion_code(call: Call) -> Obj:
    code = call.sandbox.store.get("promotion_code", call.id)
    before = copy_of(code)
    code["active"] = call.params.get("active", code["active"])
    if "metadata" in call.params:
        code["metadata"] = merge_metadata(code["metadata"], call.params["metadata"])
    if before != code:
        call.sandbox.emit("promotion_code.updated", code, before)
    return code


def list_promotion_codes(call: Call) -> Obj:
    found = matching(call.sandbox.store.all("promotion_code"), call.params, "active", "code", "customer")
    if "coupon" in call.params:
        found = [code for code in found if code["promotion"]["coupon"] == call.params["coupon"]]
    return page(call, found, "/v1/promotion_codes")


OPERATIONS = [
    Operation("POST", "/v1/coupons", p.CouponCreateParams, create_coupon),
    Operation("GET", "/v1/coupons", p.CouponListParams, list_coupons),
    Operation("GET", "/v1/coupons/{id}", p.CouponRetrieveParams, retrieve("coupon")),
    Operation("POST", "/v1/coupons/{id}", p.CouponUpdateParams, update_coupon),
    Operation("DELETE", "/v1/coupons/{id}", p.CouponDeleteParams, delete_coupon),
    Operation("POST", "/v1/promotion_codes", p.PromotionCodeCreateParams, create_promotion_code),
    Operation("GET", "/v1/promotion_codes", p.PromotionCodeListParams, list_promotion_codes),
    Operation("GET", "/v1/promotion_codes/{id}", p.PromotionCodeRetrieveParams, retrieve("promotion_code")),
    Operation("POST", "/v1/promotion_codes/{id}", p.PromotionCodeUpdateParams, update_promotion_code),
]
