"""The list of events, and the feed of signed webhooks."""

from __future__ import annotations

import json
from typing import Any

import httpx
import stripe
from tests.stripe_sandbox.harness import WEBHOOK_SECRET, Operator, last_event
from tests.stripe_sandbox.in_process import DAY, HOUR, YEAR, InProcessSandbox


def test_events_are_paged_in_both_directions_and_filtered(sandbox: InProcessSandbox) -> None:
    start = sandbox.sandbox.clock.now()
    for n in range(7):
        sandbox.advance(HOUR)
        sandbox.customer(None, name=str(n))
    sandbox.api.coupons.create({"percent_off": 5, "duration": "once"})
    events = sandbox.api.events
    newest = [e.id for e in events.list({"limit": 100}).data]
    assert len(newest) == 8
    first = events.list({"limit": 3})
    assert ([e.id for e in first.data], first.has_more) == (newest[:3], True)
    second = events.list({"limit": 3, "starting_after": newest[2]})
    assert [e.id for e in second.data] == newest[3:6]
    before = events.list({"limit": 2, "ending_before": newest[5]})
    assert ([e.id for e in before.data], before.has_more) == (newest[3:5], True)
    assert [e.id for e in events.list({"limit": 3}).auto_paging_iter()] == newest
    assert [e.type for e in events.list({"type": "coupon.*"}).data] == ["coupon.created"]
    assert len(events.list({"types": ["customer.created", "customer.updated"]}).data) == 7
    third = start + 3 * HOUR + 60
    assert len(events.list({"created": {"lte": third}}).data) == 3
    assert len(events.list({"created": {"gt": third}, "type": "customer.created"}).data) == 4
    sandbox.advance(31 * DAY)
    assert events.list({}).data == []
    assert len(sandbox.take()) == 8


def test_the_feed_returns_signed_webhooks(client: stripe.StripeClient, operator: Operator, http: httpx.Client) -> None:
    client.v1.customers.create({"email": "before@example.org"})
    since = last_event(client)
    assert since is not None
    customer = client.v1.customers.create({"email": "feed@example.org"})
    client.v1.customers.update(customer.id, {"name": "Ada"})
    page: dict[str, Any] = operator.get("/events", after=since, limit="1")
    assert ([e["type"] for e in page["events"]], page["has_more"]) == (["customer.created"], True)
    (event,) = operator.get("/events", after=page["next"])["events"]
    stripe.WebhookSignature.verify_header(event["body"].encode(), event["signature"], WEBHOOK_SECRET, 300)
    body = json.loads(event["body"])
    assert (body["id"], body["data"]["previous_attributes"]) == (event["id"], {"name": None})
    (other,) = operator.get("/events", after=page["next"], secret="whsec_mine")["events"]
    stripe.WebhookSignature.verify_header(other["body"].encode(), other["signature"], "whsec_mine", 300)
    empty = operator.get("/events", after=event["id"])
    assert empty == {"events": [], "next": event["id"], "has_more": False}
    assert http.get("/sandbox/api/events?after=evt_gone").status_code == 404


def test_advancing_a_year_bills_every_month(sandbox: InProcessSandbox) -> None:
    item = {"price": sandbox.price(10_000)}
    created = [sandbox.api.subscriptions.create({"customer": sandbox.customer().id, "items": [item]}) for _ in range(5)]
    sandbox.new_events()
    sandbox.advance(YEAR + DAY)
    paid = [data["object"]["amount_paid"] for data in sandbox.of("invoice.paid")]
    assert paid == [10_000] * 12 * len(created)


async def test_it_works_in_a_running_loop(sandbox: InProcessSandbox) -> None:
    customer = await sandbox.client.v1.customers.create_async({"email": "loop@example.org"})
    await sandbox.operate(f"/customers/{customer.id}/fail_next_charges", times=1)
    assert sandbox.client.v1.customers.retrieve(customer.id).email == "loop@example.org"
    assert [webhook.type for webhook in sandbox.take()] == ["customer.created"]
