"""Rules of products and prices."""

from __future__ import annotations

from stripe_sandbox.operation import Call
from stripe_sandbox.rules.rule import Rule, Values

_PRODUCTS = ("POST /v1/products", "POST /v1/products/{id}")
_PRICES = ("POST /v1/prices", "POST /v1/prices/{id}")
_LONGEST = {"day": 1_095, "week": 156, "month": 36, "year": 3}


def _lookup_key(call: Call) -> Values | None:
    key = call.params.get("lookup_key") or ""
    return {"value": f"{key[:20]}…{key[-4:]}"} if len(key) > 200 else None


def _interval(call: Call) -> Values | None:
    recurring = call.params.get("recurring") or {}
    longest = _LONGEST.get(recurring.get("interval", "day"), 1_095)
    return {"longest": longest} if recurring.get("interval_count", 1) > longest else None


def _statement_descriptor(call: Call) -> Values | None:
    given = call.params.get("statement_descriptor") or ""
    return {} if len(given) > 22 or set(given) & set("<>\\\"'") else None


RULES = [
    Rule(
        name="lookup_key_length",
        calls=_PRICES,
        check=_lookup_key,
        message="Invalid string: {value}; must be at most 200 characters",
        param="lookup_key",
        source="SDK: PriceCreateParams.lookup_key may be up to 200 characters (message: believed)",
    ),
    Rule(
        name="recurring_interval_length",
        calls=("POST /v1/prices",),
        check=_interval,
        message="The interval of a recurring price can be at most three years (interval_count at most {longest}).",
        param="recurring[interval_count]",
        source="SDK: PriceCreateParamsRecurring.interval_count, maximum of three years (message: believed)",
    ),
    Rule(
        name="statement_descriptor",
        calls=_PRODUCTS,
        check=_statement_descriptor,
        message="The statement descriptor must be at most 22 characters without any of `<`, `>`, `\\`, `\"`, `'`.",
        param="statement_descriptor",
        source="SDK: ProductCreateParams.statement_descriptor (message: believed)",
    ),
]
