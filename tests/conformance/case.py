"""One call to Stripe's API, and what it must answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import stripe
from tests.conformance.account import Account

Call = Callable[[Account], Any]


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The error. `mentions` are parts of its message; None for `code` and `param`: the error has none."""

    status: int = 400
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    mentions: tuple[str, ...] = ()
    decline_code: str | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """`call` is made last; what it needs before is created by it too, so that each case stands alone.

    `expect` is the refusal, or values of the answer by path ("items.data.0.price.unit_amount"; a type instead of a
    value: any value of that type). `rule` is the rule of the sandbox's catalog that the case breaks. `operated`: the
    case needs an action of a customer or a bank, so it is only made against the sandbox. `browser`: it needs a
    publishable key.
    """

    name: str
    call: Call
    expect: Refused | Mapping[str, object]
    rule: str | None = None
    operated: bool = False
    browser: bool = False


def at(answer: Any, path: str) -> Any:
    """The value at a path of an SDK object."""
    for step in path.split("."):
        answer = answer[int(step)] if step.isdigit() else answer[step]
    return answer.to_dict() if isinstance(answer, stripe.StripeObject) else answer
