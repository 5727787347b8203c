"""What follows a failed attempt, by what the bank said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import get_args

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from checkout.installments.retries import (
    CHARGES_APART,
    HARD_DECLINES,
    NEEDS_PAYER,
    RETRIES,
    Failure,
    GiveUp,
    Retry,
    after_failure,
    charges_again,
    next_charge_at,
)

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
moments = st.integers(1_577_836_800, 2_051_222_400).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
SOFT = ("insufficient_funds", "generic_decline", "do_not_honor", "processing_error", "try_again_later", "unknown")


def _attempts(failure: Failure, first: datetime) -> list[datetime]:
    """The time of each attempt, if each of them fails like this."""
    at, times = first, [first]
    for attempts in range(1, 10):
        match after_failure(failure, attempts=attempts, now=at):
            case Retry(at=at):
                times.append(at)
            case GiveUp():
                break
    return times


@given(moments, st.sampled_from(SOFT))
def test_retries_are_1_3_and_7_days_after_the_first_attempt(first: datetime, code: str) -> None:
    assert [(at - first).days for at in _attempts(Failure(code=code, method="card"), first)] == [0, 1, 3, 7]


@pytest.mark.parametrize("code", sorted(HARD_DECLINES))
def test_a_hard_decline_is_not_retried(code: str) -> None:
    assert _attempts(Failure(code=code), NOW) == [NOW]


def test_the_issuer_can_forbid_another_attempt() -> None:
    assert _attempts(Failure(code="generic_decline", advice="do_not_try_again"), NOW) == [NOW]
    assert len(_attempts(Failure(code="generic_decline", advice="try_again_later"), NOW)) == 4


def test_a_bank_debit_is_presented_again_twice_at_most() -> None:
    failure = Failure(code="insufficient_funds", method="us_bank_account")
    assert [(at - NOW).days for at in _attempts(failure, NOW)] == [0, 1, 3]


@given(moments, st.sampled_from([*SOFT, *NEEDS_PAYER, *HARD_DECLINES]), st.sampled_from([None, "card", "acss_debit"]))
def test_two_attempts_are_at_least_a_day_apart(first: datetime, code: str, method: str | None) -> None:
    times = _attempts(Failure(code=code, method=method), first)
    assert all(later - earlier >= CHARGES_APART for earlier, later in pairwise(times))
    assert len(times) <= len(RETRIES) + 1


@pytest.mark.parametrize("code", sorted(NEEDS_PAYER))
def test_a_method_for_which_the_payer_has_to_act_is_not_charged_again(code: str) -> None:
    assert not charges_again(failure_code=code, charged_method="pm_1", method="pm_1")
    assert charges_again(failure_code=code, charged_method="pm_1", method="pm_2"), "a new one is"
    assert charges_again(failure_code="insufficient_funds", charged_method="pm_1", method="pm_1")


def test_the_next_charge_of_a_purchase_is_a_day_later() -> None:
    assert next_charge_at(None) is None
    assert next_charge_at(NOW) == NOW + timedelta(days=1)


def test_the_codes_that_are_not_of_the_issuer_exist_at_stripe() -> None:
    """Codes of issuers and of networks are not in the SDK; those that it lists are spelled as it does."""
    annotation = stripe.PaymentIntent.LastPaymentError.__annotations__["code"]
    listed = {code for code in _leaves(annotation) if isinstance(code, str)}
    ours = {
        "account_closed",
        "account_number_invalid",
        "bank_account_declined",
        "bank_account_restricted",
        "bank_account_unusable",
        "billing_invalid_mandate",
        "debit_not_authorized",
        "expired_card",
        "expired_payment_method",
        "no_account",
        "payment_intent_mandate_invalid",
        "payment_method_bank_account_blocked",
        "payment_method_restricted",
        "routing_number_invalid",
    }
    assert ours <= HARD_DECLINES
    assert ours <= listed
    assert {"authentication_required", "invoice_payment_intent_requires_action"} <= listed & NEEDS_PAYER


def _leaves(annotation: object) -> list[object]:
    arguments = get_args(annotation)
    return [leaf for each in arguments for leaf in _leaves(each)] if arguments else [annotation]
