"""Events for whoever fetches them instead of receiving webhooks: the same bytes, signed the same way."""

import itertools
import time
from dataclasses import dataclass

from stripe_sandbox.delivery import wire
from stripe_sandbox.signing import signature_header
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


@dataclass(frozen=True)
class Page:
    """Events oldest first, and the cursor (an event's id) to go on from; `next` is none before the first event."""

    events: list[Obj]
    next: str | None
    has_more: bool


@dataclass(frozen=True)
class Signed:
    """One event as a webhook would carry it. `signature` is the Stripe-Signature header, none without a secret."""

    id: str
    type: str
    created: int
    body: str
    signature: str | None


def since(sandbox: Sandbox, after: str | None, limit: int = 1000) -> Page:
    """What was logged after an event, or from the beginning. Raises a 404 for an event that is none."""
    if after is not None:
        sandbox.store.get("event", after)
    newer = list(itertools.takewhile(lambda event: event["id"] != after, reversed(sandbox.store.all("event"))))[::-1]
    events = newer[: max(limit, 1)]
    return Page(events, events[-1]["id"] if events else after, len(newer) > len(events))


def signed(event: Obj, secret: str | None) -> Signed:
    """The event signed now: receivers that check the time take it for the next five minutes."""
    body = wire(event)
    header = signature_header(body, [secret], at=int(time.time())) if secret else None
    return Signed(event["id"], event["type"], event["created"], body.decode(), header)


def own_secret(sandbox: Sandbox) -> str | None:
    """The secret of the endpoint in the settings."""
    secret = sandbox.settings.webhook_secret
    return secret.get_secret_value() if secret else None
