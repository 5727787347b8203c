"""All rules, and their enforcement before a call is handled."""

from __future__ import annotations

from stripe_sandbox.operation import Call, Operation
from stripe_sandbox.rules import (
    checkout_sessions,
    coupons,
    disputes,
    invoices,
    payment_intents,
    prices,
    publishable_keys,
    requests,
    subscriptions,
    urls,
)
from stripe_sandbox.rules.rule import Rule

_MODULES = (
    requests,
    publishable_keys,
    urls,
    payment_intents,
    checkout_sessions,
    invoices,
    subscriptions,
    prices,
    coupons,
    disputes,
)
RULES: list[Rule] = [rule for module in _MODULES for rule in module.RULES]

_CHECKED: dict[str, list[Rule]] = {}
for _rule in RULES:
    for _call in _rule.calls if _rule.check is not None else ():
        _CHECKED.setdefault(_call, []).append(_rule)


def enforce(operation: Operation, call: Call) -> None:
    """Raises the error of the first rule that the call breaks."""
    for rule in _CHECKED.get(f"{operation.method} {operation.path}", []):
        if rule.check is not None and (values := rule.check(call)) is not None:
            raise rule.error(**values)
