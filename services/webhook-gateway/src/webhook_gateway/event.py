"""A Stripe event as received: the attributes that the gateway needs, and the raw body."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kit.http.problems import Problem
from webhook_gateway.fields import value_at
from webhook_gateway.problems import NOT_AN_EVENT, WRONG_ACCOUNT, WRONG_MODE

_ID = re.compile(r"[A-Za-z0-9_\-]{1,128}")
_TYPE = re.compile(r"[a-z0-9_.\[\]]{1,128}")


_PER_DELIVERY = frozenset({"pending_webhooks", "request", "context"})
"""Attributes that depend on when, to whom or by which call Stripe renders an event (Stripe SDK 16.1, Event)."""
_IDENTITY = ("id", "type", "created", "livemode", "account")


@dataclass(frozen=True, kw_only=True, slots=True)
class StripeEvent:
    """`account`: the connected account that it comes from; None for the account of the endpoint itself.
    `signature`: the Stripe-Signature header that it was delivered with."""

    id: str
    type: str
    body: bytes
    content: Mapping[str, Any]  # Any: the body as JSON, read through `fields`
    signature: str | None = None
    livemode: object = None
    account: object = None


def parse_event(body: bytes, *, signature: str | None = None) -> StripeEvent:
    """Returns the event in a verified body. Raises a 400 Problem if there is none."""
    event = decode(body)
    event_id, event_type = event.get("id"), event.get("type")
    if not isinstance(event_id, str) or not _ID.fullmatch(event_id):
        raise _not_an_event("its id is missing or invalid")
    if not isinstance(event_type, str) or not _TYPE.fullmatch(event_type):
        raise _not_an_event("its type is missing or invalid")
    return StripeEvent(
        id=event_id,
        type=event_type,
        body=body,
        content=event,
        signature=signature,
        livemode=event.get("livemode"),
        account=event.get("account"),
    )


def fetched_event(content: Mapping[str, Any]) -> StripeEvent:
    """The event as the API lists it. Raises a 400 Problem if it is none."""
    return parse_event(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace"))


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Whose events are accepted: those of live mode or of test mode, and of one account."""

    livemode: bool
    account: str | None = None

    def check(self, event: StripeEvent) -> None:
        """Raises a 400 Problem for an event of the other mode or of another account."""
        if event.livemode is not self.livemode:
            expected, found = ("live", "test") if self.livemode else ("test", "live")
            raise WRONG_MODE(
                f"This endpoint accepts {expected} events only. Remove it from the {found} mode's webhook endpoints, "
                "or set STRIPE_LIVEMODE."
            )
        if event.account is not None and event.account != self.account:
            raise WRONG_ACCOUNT()


def is_same(first: bytes, second: bytes) -> bool:
    """Whether two verified bodies with one id are the same event.

    Stripe renders an event once per API version: an endpoint gets it in its own version, and the API lists it in the
    account's (https://docs.stripe.com/webhooks/versioning, stripe/stripe-python#622). Of two versions, only what does
    not depend on the version is compared.
    """
    if first == second:
        return True
    one, other = json.loads(first), json.loads(second)
    if one.get("api_version") != other.get("api_version"):
        return _identity(one) == _identity(other)
    try:
        return _content(one) == _content(other)
    except RecursionError:  # nested too deeply to be compared: Stripe sends no such event
        return False


def _content(event: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
    return {name: value for name, value in event.items() if name not in _PER_DELIVERY}


def _identity(event: Mapping[str, Any]) -> list[object]:  # Any: JSON
    thing = value_at(event, "data", "object")
    return [*(event.get(name) for name in _IDENTITY), value_at(thing, "object"), value_at(thing, "id")]


def decode(body: bytes) -> Mapping[str, Any]:  # Any: JSON from outside, read through `fields`
    """Returns the JSON object in a body. Raises a 400 Problem for anything else."""
    try:
        event = json.loads(body.decode())
    except (ValueError, RecursionError):  # not UTF-8, not JSON, a number with thousands of digits; nested too deeply
        raise _not_an_event("it is not JSON in UTF-8") from None
    if not isinstance(event, dict):
        raise _not_an_event("it is not a JSON object")
    return event


def _not_an_event(reason: str) -> Problem:
    return NOT_AN_EVENT(f"The request body is not a Stripe event: {reason}.")
