"""Our verification against the SDK's own: what Stripe signs passes both; what the SDK refuses, we refuse."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stripe import SignatureVerificationError, WebhookSignature
from tests.webhook_gateway.stripe_events import sign

from kit.http.errors import Problem
from webhook_gateway.signature import TOLERANCE_SECONDS, verify

OLD, NEW = "whsec_old", "whsec_new"
SECRETS = (OLD.encode(), NEW.encode())


def ours(header: str | None, body: bytes, now: float) -> str:
    """The code of our refusal, or ''."""
    try:
        verify(header=header, body=body, secrets=SECRETS, now=now)
    except Problem as refusal:
        return refusal.code
    return ""


def the_sdks(header: str, body: str, secret: str) -> bool:
    try:
        return bool(WebhookSignature.verify_header(body, header, secret, TOLERANCE_SECONDS))
    except SignatureVerificationError:
        return False


@given(body=st.text(st.characters(codec="utf-8"), max_size=200), secret=st.sampled_from([OLD, NEW]))
def test_what_the_sdk_accepts_we_accept(body: str, secret: str) -> None:
    header = sign(body.encode(), secret=secret)
    assert the_sdks(header, body, secret)
    assert ours(header, body.encode(), time.time()) == ""


@given(header=st.text(max_size=80), body=st.text(st.characters(codec="utf-8"), max_size=20))
def test_what_the_sdk_refuses_we_refuse(header: str, body: str) -> None:
    try:
        refused = not any(the_sdks(header, body, secret) for secret in (OLD, NEW))
    except (TypeError, ValueError):
        refused = True  # the SDK chokes on it
    assert refused
    assert ours(header, body.encode(), time.time()) in ("signature_missing", "signature_invalid")


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, ""), (-299, ""), (299, ""), (-302, "signature_stale"), (302, "signature_stale")]
)
def test_the_tolerance_holds_both_ways(seconds: int, expected: str) -> None:
    now = 1_790_000_000.0
    assert ours(sign(b"{}", secret=NEW, at=now + seconds), b"{}", now) == expected


def test_one_good_signature_among_several_is_enough() -> None:
    good = sign(b"{}", secret=NEW).split(",")[1]
    stamp = sign(b"{}", secret=NEW).split(",")[0]
    assert ours(f"{stamp},v1=00,v0=aa,{good}", b"{}", time.time()) == ""


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=1",
        "v1=abc",
        "t=,v1=abc",
        "t=x,v1=abc",
        "t=١٢٣,v1=abc",
        "t=1,t=2,v1=abc",
        "t=-5,v1=aa",
        "ä=ö,t=1,v1=é",
        ",,,=",
    ],
)
def test_garbled_headers_are_refused(header: str) -> None:
    assert ours(header, b"{}", 1.0) in ("signature_missing", "signature_invalid")


def test_a_signature_of_another_body_is_refused() -> None:
    assert ours(sign(b"{}", secret=NEW), b"{ }", time.time()) == "signature_invalid"
