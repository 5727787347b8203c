"""Coupons and promotion codes on checkout sessions."""

from __future__ import annotations

from typing import Any

import pytest
import stripe
from tests.stripe_sandbox.harness import LINE, SUCCESS
from tests.stripe_sandbox.in_process import InProcessSandbox


def session(sandbox: InProcessSandbox, **params: Any) -> Any:
    given = {"mode": "payment", "line_items": [LINE], "success_url": SUCCESS, **params}
    return sandbox.api.checkout.sessions.create(given)


def pay(sandbox: InProcessSandbox, id: str) -> Any:
    return sandbox.operate_now(f"/sessions/{id}/pay", email="ada@example.org")


@pytest.mark.parametrize(
    ("terms", "off"), [({"percent_off": 12.5}, 61_125), ({"amount_off": 9_000, "currency": "usd"}, 9_000)]
)
def test_a_coupon_reduces_the_amount(sandbox: InProcessSandbox, terms: dict[str, Any], off: int) -> None:
    coupon = sandbox.api.coupons.create({"id": "scholarship-7", "duration": "once", **terms})
    assert (coupon.id, coupon.valid) == ("scholarship-7", True)
    with pytest.raises(stripe.InvalidRequestError) as again:
        sandbox.api.coupons.create({"id": "scholarship-7", "duration": "once", **terms})
    assert again.value.code == "resource_already_exists"
    created = session(sandbox, discounts=[{"coupon": "scholarship-7"}])
    assert (created.total_details.amount_discount, created.amount_total) == (off, 489_000 - off)
    paid = pay(sandbox, created.id)
    assert sandbox.api.payment_intents.retrieve(paid["payment_intent"]).amount_received == 489_000 - off


def test_a_full_discount_requires_no_payment(sandbox: InProcessSandbox) -> None:
    sandbox.api.coupons.create({"id": "full", "percent_off": 100, "duration": "once", "max_redemptions": 1})
    created = session(sandbox, discounts=[{"coupon": "full"}])
    assert pay(sandbox, created.id)["status"] == "complete"
    done = sandbox.api.checkout.sessions.retrieve(created.id)
    assert (done.payment_status, done.payment_intent) == ("no_payment_required", None)
    assert (done.amount_total, done.total_details.amount_discount) == (0, 489_000)
    used = sandbox.api.coupons.retrieve("full")
    assert (used.times_redeemed, used.valid) == (1, False)
    with pytest.raises(stripe.InvalidRequestError) as raised:
        session(sandbox, discounts=[{"coupon": "full"}])
    assert raised.value.code == "coupon_expired"
    assert sandbox.balance_transactions() == []


def test_a_promotion_code_applies_its_coupon(sandbox: InProcessSandbox) -> None:
    sandbox.api.coupons.create({"id": "half", "percent_off": 50, "duration": "once"})
    code = sandbox.api.promotion_codes.create({"promotion": {"type": "coupon", "coupon": "half"}, "code": "SPRING"})
    created = session(sandbox, discounts=[{"promotion_code": code.id}])
    assert created.amount_total == 244_500
    pay(sandbox, created.id)
    assert sandbox.api.promotion_codes.list({"code": "SPRING"}).data[0].times_redeemed == 1
    assert sandbox.api.coupons.update("half", {"metadata": {"p": "1"}}).metadata.to_dict() == {"p": "1"}
