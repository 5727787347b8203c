"""Rules of coupons and promotion codes."""

from __future__ import annotations

from stripe_sandbox.operation import Call
from stripe_sandbox.rules.rule import Rule, Values

_COUPONS, _CODES = ("POST /v1/coupons",), ("POST /v1/promotion_codes",)


def _amount_and_percent(call: Call) -> Values | None:
    return {} if ("percent_off" in call.params) == ("amount_off" in call.params) else None


def _percent(call: Call) -> Values | None:
    return None if 0 < call.params.get("percent_off", 1) <= 100 else {}


def _months(call: Call) -> Values | None:
    repeating = call.params.get("duration", "once") == "repeating"
    return {} if repeating != ("duration_in_months" in call.params) else None


def _code_taken(call: Call) -> Values | None:
    code = call.params.get("code")
    active = call.sandbox.store.where("promotion_code", active=True)
    return {"code": code} if code and any(c["code"].lower() == code.lower() for c in active) else None


RULES = [
    Rule(
        name="coupon_without_one_discount",
        calls=_COUPONS,
        check=_amount_and_percent,
        message="You must provide exactly one of percent_off and amount_off.",
        param="percent_off",
        source="SDK: CouponCreateParams, required if the other is not passed (message: believed)",
    ),
    Rule(
        name="coupon_percentage",
        calls=_COUPONS,
        check=_percent,
        message="Invalid percent_off: must be greater than 0 and at most 100",
        param="percent_off",
        source="SDK: CouponCreateParams.percent_off, a positive float of at most 100 (message: believed)",
    ),
    Rule(
        name="coupon_duration",
        calls=_COUPONS,
        check=_months,
        message="`duration_in_months` is required if and only if `duration` is `repeating`.",
        param="duration_in_months",
        source="SDK: CouponCreateParams.duration_in_months (message: believed)",
    ),
    Rule(
        name="promotion_code_taken",
        calls=_CODES,
        check=_code_taken,
        message="An active promotion code with `code: {code}` already exists.",
        param="code",
        source="SDK: PromotionCodeCreateParams.code must be unique across active codes (message: believed)",
    ),
]
