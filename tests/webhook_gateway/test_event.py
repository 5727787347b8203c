"""When two bodies are the same event, and whose events are accepted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.webhook_gateway import stripe_events as stripe
from tests.webhook_gateway.stripe_events import body_of

from kit.http.problems import Problem
from webhook_gateway.event import Origin, is_same, parse_event
from webhook_gateway.settings import ApiSettings, RelaySettings

EVENT = stripe.event("payment_intent.succeeded", stripe.intent(), id="evt_1")


def differing(**fields: object) -> bytes:
    return body_of({**EVENT, **fields})


@pytest.mark.parametrize(
    "other",
    [
        body_of(EVENT),
        body_of(dict(reversed(EVENT.items()))),
        body_of(EVENT).replace(b": ", b" :  "),
        differing(pending_webhooks=0),
        differing(request=None),
        differing(context="acct_1"),
        differing(api_version="2019-02-11", data={"object": {"object": "payment_intent", "id": "pi_1"}}),
    ],
    ids=["equal", "reordered", "spaces", "delivered", "no request", "context", "another API version"],
)
def test_copies_of_an_event_are_the_same(other: bytes) -> None:
    assert is_same(body_of(EVENT), other)
    assert is_same(other, body_of(EVENT))


@pytest.mark.parametrize(
    "other",
    [
        differing(type="payment_intent.payment_failed"),
        differing(created=1_790_000_001),
        differing(livemode=True),
        differing(account="acct_1"),
        differing(more=1),
        differing(data={"object": stripe.intent(amount_received=1)}),
        differing(data={"object": stripe.intent(), "previous_attributes": {}}),
        differing(api_version="2019-02-11", data={"object": {"object": "payment_intent", "id": "pi_2"}}),
        differing(api_version="2019-02-11", created=1),
        differing(api_version=None, data=7),
    ],
)
def test_another_body_is_another_event(other: bytes) -> None:
    assert not is_same(body_of(EVENT), other)
    assert not is_same(other, body_of(EVENT))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(JSON, JSON)
def test_any_two_bodies_can_be_compared(one: Any, other: Any) -> None:
    assert is_same(differing(data=one, api_version=other), differing(data=one, api_version=other))
    assert is_same(differing(data=one), differing(data=other)) in (True, False)


def test_bodies_that_are_nested_too_deeply_are_different() -> None:
    deep = b'{"id": "evt_1", "data": ' + b"[" * 900 + b"%d" + b"]" * 900 + b"}"
    assert not is_same(deep % 1, deep % 2)


def problem_code(origin: Origin, **fields: object) -> str | None:
    try:
        origin.check(parse_event(differing(**fields)))
    except Problem as problem:
        assert problem.status == 400
        return problem.code
    return None


def test_an_endpoint_accepts_one_mode() -> None:
    live, test = Origin(livemode=True), Origin(livemode=False)
    assert (problem_code(live, livemode=True), problem_code(test, livemode=False)) == (None, None)
    assert (problem_code(live, livemode=False), problem_code(test, livemode=True)) == ("wrong_mode", "wrong_mode")
    assert problem_code(test, livemode="false") == "wrong_mode"


def test_an_endpoint_accepts_its_own_account_and_the_one_in_the_settings() -> None:
    own, connected = Origin(livemode=False), Origin(livemode=False, account="acct_1")
    assert [problem_code(own), problem_code(own, account=None), problem_code(connected)] == [None] * 3
    assert problem_code(connected, account="acct_1") is None
    assert problem_code(own, account="acct_1") == problem_code(connected, account="acct_2") == "wrong_account"


SETTINGS: dict[str, Any] = {
    "database_url": "postgresql://nobody@127.0.0.1/none",
    "amqp_url": "amqp://127.0.0.1/",
    "stripe_webhook_secrets": "whsec_1",
}


def test_events_are_of_live_mode_unless_the_settings_say_otherwise() -> None:
    assert ApiSettings(**SETTINGS).origin == Origin(livemode=True)
    assert ApiSettings(**SETTINGS, stripe_livemode="false", stripe_account="").origin == Origin(livemode=False)


@pytest.mark.parametrize(
    ("key", "livemode", "accepted"),
    [
        ("rk_live_1", True, True),
        ("rk_live_1", False, False),
        ("sk_test_1", True, False),
        ("sk_test_1", False, True),
        ("", True, True),
        ("of-a-proxy", True, True),
    ],
)
def test_the_key_has_to_be_of_the_mode(key: str, livemode: bool, accepted: bool) -> None:
    try:
        RelaySettings(**SETTINGS, stripe_api_key=key, stripe_livemode=livemode)
    except ValueError as error:
        assert not accepted
        assert "STRIPE_LIVEMODE" in str(error)
    else:
        assert accepted
