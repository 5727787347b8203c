"""Every case against Stripe's test mode (`make conformance` with STRIPE_TEST_KEY), or against the sandbox.

The same expectations for both: where Stripe answers otherwise, the sandbox has a belief to correct.
"""

from __future__ import annotations

from typing import Any

import pytest
import stripe
from tests.conformance.account import Account
from tests.conformance.answers import ANSWERS
from tests.conformance.case import Case, Refused, at
from tests.conformance.refusals import REFUSALS
from tests.conformance.refusals_of_billing import REFUSALS_OF_BILLING
from tests.conformance.refusals_of_browsers import ANSWERS_TO_BROWSERS, REFUSALS_OF_BROWSERS

from stripe_sandbox.rules.enforcement import RULES

CASES = [*REFUSALS, *REFUSALS_OF_BILLING, *REFUSALS_OF_BROWSERS, *ANSWERS, *ANSWERS_TO_BROWSERS]
ELSEWHERE = {"idempotency_key_in_use": "needs two requests at once: tests/stripe_sandbox/test_idempotency.py"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(account: Account, case: Case) -> None:
    if case.operated and not account.is_sandbox:
        return  # only a customer or a bank can do this, so there is nothing to ask Stripe
    if case.browser and not account.has_browser:
        return  # STRIPE_TEST_PUBLISHABLE_KEY is not set
    if isinstance(case.expect, Refused):
        _check_refusal(account, case, case.expect)
        return
    answer = case.call(account)
    for path, expected in case.expect.items():
        value = at(answer, path)
        assert isinstance(value, expected) if isinstance(expected, type) else value == expected, (path, value)


def test_every_rule_has_a_case() -> None:
    broken = {case.rule for case in CASES if case.rule}
    assert {rule.name for rule in RULES} - set(ELSEWHERE) == broken
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_every_rule_has_a_source() -> None:
    for rule in RULES:
        assert rule.source.startswith(("believed", "SDK: ", "docs.stripe.com/", "github.com/", "the message as")), rule


def _check_refusal(account: Account, case: Case, expected: Refused) -> None:
    with pytest.raises(stripe.StripeError) as raised:
        case.call(account)
    body: Any = raised.value.json_body
    error = body["error"]
    found = Refused(
        status=raised.value.http_status or 0,
        type=error["type"],
        code=error.get("code"),
        param=error.get("param"),
        mentions=expected.mentions,
        decline_code=error.get("decline_code"),
    )
    assert found == expected, error["message"]
    for part in expected.mentions:
        assert part in error["message"]
