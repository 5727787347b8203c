"""The event log as signed webhooks to fetch, for clients without a webhook endpoint."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

from stripe_sandbox.delivery import webhook_body
from stripe_sandbox.signatures import signature_header
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


@dataclass(frozen=True)
class Page:
    """Events, oldest first. `next` is the cursor (an event id) of the next page; None before the first event."""

    events: list[Obj]
    next: str | None
    has_more: bool


@dataclass(frozen=True)
class SignedEvent:
    """One event as a webhook. `signature` is the Stripe-Signature header; None without a secret."""

    id: str
    type: str
    created: int
    body: str
    signature: str | None


def since(sandbox: Sandbox, after: str | None, limit: int = 1000) -> Page:
    """Events logged after `after`, or all of them. Raises a 404 if `after` does not exist."""
    if after is not None:
        sandbox.store.get("event", after)
    newer = list(itertools.takewhile(lambda event: event["id"] != after, reversed(sandbox.store.all("event"))))[::-1]
    events = newer[: max(limit, 1)]
    return Page(events, events[-1]["id"] if events else after, len(newer) > len(events))


def sign(event: Obj, secret: str | None) -> SignedEvent:
    """Signs the event with the current time; receivers usually accept a signature for five minutes."""
    body = webhook_body(event)
    header = signature_header(body, [secret], at=int(time.time())) if secret else None
    return SignedEvent(event["id"], event["type"], event["created"], body.decode(), header)


def default_secret(sandbox: Sandbox) -> str | None:
    """The signing secret from the settings."""
    secret = sandbox.settings.webhook_secret
    return secret.get_secret_value() if secret else None
