"""Which price a membership has at Stripe, what is charged at once, and what is a credit. Pure."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from checkout.memberships import domain
from checkout.memberships.domain import Change, SubscriptionState
from checkout.purchases.domain import Interval
from checkout.settings import MembershipPriceSettings, StripeSettings
from checkout.stripe_client.memberships import key_of_price, tier_of_key
from contracts.money import usd

NOW = SubscriptionState(
    status="active",
    tier="student",
    interval="month",
    amount=usd(1_900),
    cancel_at_period_end=False,
    cancel_dated=False,
    paused=False,
    halted=False,
    unpaid_period=False,
    ended=False,
)


def test_prices_by_tier_and_interval() -> None:
    settings = MembershipPriceSettings(
        stripe_price_student="price_s",
        stripe_price_career="",
        stripe_price_career_annual="price_cy",
        stripe_prices=("alumni/year=price_ay", "a/b/month=price_ab", "student/month=price_other"),
    )
    assert settings.membership_prices == {
        ("student", "month"): "price_other",
        ("career", "year"): "price_cy",
        ("alumni", "year"): "price_ay",
        ("a/b", "month"): "price_ab",
    }
    assert MembershipPriceSettings().membership_prices == {}


def test_prices_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "")
    monkeypatch.setenv("STRIPE_PRICE_STUDENT", "")
    monkeypatch.setenv("STRIPE_PRICES", "")
    assert StripeSettings().membership_prices == {}
    monkeypatch.setenv("STRIPE_PRICE_STUDENT", "price_s")
    monkeypatch.setenv("STRIPE_PRICES", "alumni/month=price_am, alumni/year=price_ay")
    assert len(StripeSettings().membership_prices) == 3


@pytest.mark.parametrize(
    "twice", [{"stripe_price_career": "p"}, {"stripe_price_student_annual": "p"}, {"stripe_prices": ("x/month=p",)}]
)
def test_one_price_for_two_memberships_is_a_mistake(twice: dict[str, Any]) -> None:
    """Who buys the one would get the other's tier."""
    with pytest.raises(ValidationError):
        MembershipPriceSettings(stripe_price_student="p", **twice)


@pytest.mark.parametrize("wrong", ["student=p", "student/week=p", "/month=p", "student/month=", "student/month"])
def test_prices_without_a_tier_or_interval(wrong: str) -> None:
    with pytest.raises(ValidationError):
        MembershipPriceSettings(stripe_prices=(wrong,))


@pytest.mark.parametrize("tier", ["student", "a/b", "membership", "Ünter Tier"])
def test_the_key_of_a_created_price_contains_its_tier(tier: str) -> None:
    assert tier_of_key(key_of_price(tier, "year", usd(1_900), "abcd1234")) == tier


@pytest.mark.parametrize("key", ["", "plan/cpr/usd/14375/ab12cd34", "membership", "membership/x", "student"])
def test_another_key_contains_no_tier(key: str) -> None:
    assert tier_of_key(key) is None


@pytest.mark.parametrize(
    ("amount", "interval", "at_once"),
    [
        (4_900, "month", True),
        (900, "month", False),
        (1_900, "month", False),
        (19_000, "year", True),
        (100, "year", True),
    ],
)
def test_a_higher_price_is_paid_at_once(amount: int, interval: Interval, at_once: bool) -> None:
    decision = domain.change(
        NOW, item_id="si_1", price_id="price_1", price=usd(amount), interval=interval, metadata={"tier": "career"}
    )
    params: dict[str, Any] = dict(decision.params)
    assert params["items"] == [{"id": "si_1", "price": "price_1"}]
    assert params["proration_behavior"] == ("always_invoice" if at_once else "create_prorations")
    assert params.get("payment_behavior") == ("error_if_incomplete" if at_once else None)


def test_a_resume_undoes_a_pause_and_a_cancellation() -> None:
    stopped = {**vars(NOW), "paused": True, "cancel_at_period_end": True}
    assert domain.resume(SubscriptionState(**stopped)) == Change(
        {"cancel_at_period_end": False, "pause_collection": ""}
    )
    dated = domain.resume(SubscriptionState(**{**stopped, "cancel_dated": True, "paused": False}))
    assert dated == Change({"cancel_at": ""})
