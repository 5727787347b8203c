"""Our verification against the SDK's: both accept what Stripe signs, and we reject what the SDK rejects."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stripe import SignatureVerificationError, WebhookSignature
from tests.webhook_gateway.stripe_events import sign

from kit.http.problems import Problem
from webhook_gateway.signature import TOLERANCE_SECONDS, verify

OLD, NEW = "whsec_old", "whsec_new"
SECRETS = (OLD.encode(), NEW.encode())


def verify_ours(header: str | None, body: bytes, now: float) -> str:
    """Returns the code of our Problem, a 400, or '' if verified."""
    try:
        verify(header=header, body=body, secrets=SECRETS, now=now)
    except Problem as problem:
        assert problem.status == 400, "Stripe is told that it was refused, and nobody that a password would help"
        return problem.code
    return ""


def verify_sdk(header: str, body: str, secret: str) -> bool:
    try:
        return bool(WebhookSignature.verify_header(body, header, secret, TOLERANCE_SECONDS))
    except SignatureVerificationError:
        return False


@given(body=st.text(st.characters(codec="utf-8"), max_size=200), secret=st.sampled_from([OLD, NEW]))
def test_we_accept_what_the_sdk_accepts(body: str, secret: str) -> None:
    header = sign(body.encode(), secret=secret)
    assert verify_sdk(header, body, secret)
    assert verify_ours(header, body.encode(), time.time()) == ""


@given(header=st.text(max_size=80), body=st.text(st.characters(codec="utf-8"), max_size=20))
def test_we_reject_what_the_sdk_rejects(header: str, body: str) -> None:
    try:
        rejected = not any(verify_sdk(header, body, secret) for secret in (OLD, NEW))
    except (TypeError, ValueError):
        rejected = True  # the SDK raises an unrelated error
    assert rejected
    assert verify_ours(header, body.encode(), time.time()) in ("signature_missing", "signature_invalid")


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, ""), (-300, ""), (300, ""), (-301, "signature_stale"), (301, "signature_stale")]
)
def test_the_tolerance_applies_to_past_and_future(seconds: int, expected: str) -> None:
    now = 1_790_000_000.0
    assert verify_ours(sign(b"{}", secret=NEW, at=now + seconds), b"{}", now) == expected


def test_one_good_signature_among_several_is_enough() -> None:
    good = sign(b"{}", secret=NEW).split(",")[1]
    stamp = sign(b"{}", secret=NEW).split(",")[0]
    assert verify_ours(f"{stamp},v1=00,v0=aa,{good}", b"{}", time.time()) == ""


def test_the_first_parts_of_a_header_are_read() -> None:
    stamp, good = sign(b"{}", secret=NEW).split(",")
    junk = ",".join(["v0=aa"] * 40)
    assert verify_ours(f"{stamp},{good},{junk}", b"{}", time.time()) == ""
    assert verify_ours(f"{stamp},{junk},{good}", b"{}", time.time()) == "signature_invalid"


def test_a_second_timestamp_is_refused_even_if_it_is_none() -> None:
    assert verify_ours(sign(b"{}", secret=NEW) + ",t=1=2", b"{}", time.time()) == "signature_invalid"


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
        "t=1,v1=€",
        ",,,=",
    ],
)
def test_malformed_headers_are_rejected(header: str) -> None:
    assert verify_ours(header, b"{}", 1.0) in ("signature_missing", "signature_invalid")


def test_a_signature_of_another_body_is_rejected() -> None:
    assert verify_ours(sign(b"{}", secret=NEW), b"{ }", time.time()) == "signature_invalid"
