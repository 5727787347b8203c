"""What a promotion code takes off: each rule, and properties of every price."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkout.catalog.promotions import Promotion, RefusalCode, Refused, discount
from contracts.money import Money, usd
from contracts.people import ItemKind

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
STUDENT = uuid4()
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Thing:
    kind: ItemKind = "track"
    slug: str = "fsd"


TEN = Promotion(id=uuid4(), code="TEN", percent_off=10)
FIVE_DOLLARS = Promotion(id=uuid4(), code="FIVE", amount_off=500, currency="usd")


def off(
    promotion: Promotion | None,
    price: Money | None = None,
    *,
    item: Thing | None = None,
    student_id: UUID = STUDENT,
    used: int = 0,
    now: datetime = NOW,
) -> Money | Refused:
    return discount(
        promotion=promotion,
        item=item or Thing(),
        price=price or usd(59_900),
        now=now,
        student_id=student_id,
        used_by_student=used,
    )


def test_percent_and_amount() -> None:
    assert off(TEN) == usd(5_990)
    assert off(FIVE_DOLLARS) == usd(500)
    assert off(TEN, Money(amount=1_005, currency="eur")) == Money(amount=100, currency="eur"), "rounded down"
    assert off(TEN, usd(9)) == usd(0)
    assert off(FIVE_DOLLARS, usd(300)) == usd(300), "never more than the price"
    assert off(replace(TEN, percent_off=100)) == usd(59_900)
    assert off(TEN, usd(0)) == usd(0)


REFUSALS: list[tuple[RefusalCode, Promotion | None, dict[str, int]]] = [
    ("promotion_unknown", None, {}),
    ("promotion_inactive", replace(TEN, active=False), {}),
    ("promotion_not_yet", replace(TEN, valid_from=NOW + SECOND), {}),
    ("promotion_over", replace(TEN, valid_until=NOW), {}),
    ("promotion_not_for_this", replace(TEN, kinds=("program",)), {}),
    ("promotion_not_for_this", replace(TEN, items=("dp",)), {}),
    ("promotion_currency_mismatch", replace(FIVE_DOLLARS, currency="eur"), {}),
    ("promotion_currency_mismatch", replace(TEN, currency="eur"), {}),
    ("promotion_used_up", replace(TEN, most_uses=3, uses=3), {}),
    ("promotion_used_up", replace(TEN, most_uses=3, uses=4), {}),
    ("promotion_used_by_you", replace(TEN, most_per_student=2), {"used": 2}),
    ("promotion_own_referral", replace(TEN, referrer_id=STUDENT), {}),
]


@pytest.mark.parametrize(("code", "promotion", "more"), REFUSALS)
def test_refusals(code: RefusalCode, promotion: Promotion | None, more: dict[str, int]) -> None:
    assert off(promotion, **more) == Refused(code)  # type: ignore[arg-type]


def test_just_within_each_limit() -> None:
    limited = replace(
        TEN, valid_from=NOW, valid_until=NOW + SECOND, most_uses=3, uses=2, most_per_student=2, referrer_id=uuid4()
    )
    assert off(limited, used=1) == usd(5_990)


def test_what_it_applies_to() -> None:
    for_tracks, for_fsd = replace(TEN, kinds=("track",)), replace(TEN, items=("fsd",))
    assert off(for_tracks) == off(for_fsd) == usd(5_990)
    assert off(replace(TEN, kinds=("program",), items=("fsd",))) == usd(5_990), "either is enough"
    assert off(replace(TEN, kinds=(), items=())) == Refused("promotion_not_for_this")


def test_a_bundle_is_an_item_of_its_own() -> None:
    bundle = Thing(kind="bundle", slug="dp-and-fsd")
    for part in (replace(TEN, items=("fsd",)), replace(TEN, kinds=("track",)), replace(TEN, items=("dp", "fsd"))):
        assert off(part, item=bundle) == Refused("promotion_not_for_this")
    for whole in (TEN, replace(TEN, items=("dp-and-fsd",)), replace(TEN, kinds=("bundle",))):
        assert off(whole, item=bundle) == usd(5_990)


prices = st.builds(Money, amount=st.integers(0, 99_999_999), currency=st.sampled_from(("usd", "eur", "jpy")))
percents = st.builds(lambda percent: replace(TEN, percent_off=percent), st.integers(1, 100))
amounts = st.builds(
    lambda amount, currency: replace(FIVE_DOLLARS, amount_off=amount, currency=currency),
    st.integers(1, 99_999_999),
    st.sampled_from(("usd", "eur", "jpy")),
)


@given(price=prices, promotion=percents | amounts)
def test_a_discount_is_of_the_price_and_never_more_than_it(price: Money, promotion: Promotion) -> None:
    taken = off(promotion, price)
    if isinstance(taken, Refused):
        assert taken.code == "promotion_currency_mismatch" and promotion.currency != price.currency
        return
    assert taken.currency == price.currency and 0 <= taken.amount <= price.amount
    assert isinstance(taken.amount, int)
    if promotion.percent_off is not None:
        exact = price.amount * promotion.percent_off  # in hundredths
        assert 0 <= exact - taken.amount * 100 < 100, "the exact part, rounded down to the minor unit"
    else:
        assert taken.amount in (promotion.amount_off, price.amount)


@given(price=prices, one=st.integers(1, 100), other=st.integers(1, 100))
def test_more_percent_is_never_less(price: Money, one: int, other: int) -> None:
    low, high = (replace(TEN, percent_off=each).off(price).amount for each in sorted((one, other)))
    assert low <= high


@given(
    promotion=percents,
    active=st.booleans(),
    uses=st.integers(0, 5),
    most_uses=st.none() | st.integers(1, 5),
    used=st.integers(0, 3),
    most_per_student=st.none() | st.integers(1, 3),
    starts=st.none() | st.integers(-2, 2),
    ends=st.none() | st.integers(-2, 2),
    own=st.booleans(),
    items=st.none() | st.sampled_from([("fsd",), ("dp",)]),
)
def test_it_is_granted_exactly_when_every_rule_allows_it(
    promotion: Promotion,
    active: bool,
    uses: int,
    most_uses: int | None,
    used: int,
    most_per_student: int | None,
    starts: int | None,
    ends: int | None,
    own: bool,
    items: tuple[str, ...] | None,
) -> None:
    promotion = replace(
        promotion,
        active=active,
        uses=uses,
        most_uses=most_uses,
        most_per_student=most_per_student,
        valid_from=None if starts is None else NOW + starts * SECOND,
        valid_until=None if ends is None else NOW + ends * SECOND,
        referrer_id=STUDENT if own else None,
        items=items,
    )
    allowed = (
        active
        and (starts is None or starts <= 0)
        and (ends is None or ends > 0)
        and items != ("dp",)
        and (most_uses is None or uses < most_uses)
        and (most_per_student is None or used < most_per_student)
        and not own
    )
    assert isinstance(off(promotion, used=used), Money) == allowed
